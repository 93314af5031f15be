"""Topics and channels against a real server: what is recorded, asked, imported and bound."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.asking import acme_with, choose, fresh, lookup, withdraw
from tests.running import ADMIN_KEY, WRITE_KEY, Answer, Server, StandIn, call

WHY = "Confirms what was bought: performance of the contract"
MORE = f"""
[[topic]]
id = "news"
name = "News"
channels = ["email", "sms"]
[[topic]]
id = "offers"
name = "Offers"
channels = ["sms"]
[[topic]]
id = "orders"
name = "Orders"
channels = ["email", "sms"]
transactional = "{WHY}"
"""
BY_SMS = {"news": {"sms": True}, "offers": {"sms": True}}


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=MORE) as running:
        yield running


def ask(acme: Server, subject: dict[str, str], *pairs: tuple[str, str]) -> dict[str, Any]:
    """The decision about each topic and channel, all asked in one request."""
    items = [
        {"id": f"{topic}:{channel}", "subject": subject, "topic": topic, "channel": channel}
        for topic, channel in pairs
    ]
    answer = call(acme.base, "POST", "/v1/decisions", {"items": items}, key=ADMIN_KEY)
    assert answer.status == 200, answer.body
    return {item["id"]: item["decisions"][0] for item in answer.json["items"]}


def said(decisions: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {name: (one["decision"], one["reason"]) for name, one in decisions.items()}


NO = ("withhold", "filtered_by_end_user_consent")
YES = ("allow", "consented")


def test_no_more_sms_at_all_until_one_topic_is_agreed_to_again(acme: Server) -> None:
    subject = {"userId": fresh("user")}
    pairs = (("news", "sms"), ("offers", "sms"), ("news", "email"))
    choose(
        acme, subject, {}, topics={"news": {"sms": True, "email": True}, "offers": {"sms": True}}
    )
    assert set(said(ask(acme, subject, *pairs)).values()) == {YES}

    refused = choose(acme, subject, {}, channels={"sms": False})
    assert refused.status == 201
    assert refused.json["channels"]["sms"]["state"] == "denied"
    decided = ask(acme, subject, *pairs)
    assert said(decided) == {"news:sms": NO, "offers:sms": NO, "news:email": YES}
    assert decided["offers:sms"]["grounds"] == [{"recordId": refused.json["recordId"]}]
    assert lookup(acme, subject)["channels"]["sms"]["recordId"] == refused.json["recordId"]

    choose(acme, subject, {}, topics={"news": {"sms": True}})
    assert said(ask(acme, subject, *pairs)) == {
        "news:sms": YES,
        "offers:sms": NO,
        "news:email": YES,
    }


def test_a_stranger_refuses_a_channel_for_an_account_and_cannot_lift_it(acme: Server) -> None:
    """A public key may say no for anybody, and learns nothing; its yes changes nothing."""
    subject = {"userId": fresh("user")}
    choose(acme, subject, {}, topics=BY_SMS)
    told = withdraw(acme, subject, channels=["sms"], key=WRITE_KEY)
    assert told.status == 201
    assert told.json["topics"]["news"]["sms"]["effective"] == "denied"
    assert told.json["topics"]["news"]["email"]["state"] == "never_collected"
    assert said(ask(acme, subject, ("news", "sms"))) == {"news:sms": NO}
    choose(acme, subject, {}, topics=BY_SMS, key=WRITE_KEY)
    assert said(ask(acme, subject, ("news", "sms"))) == {"news:sms": NO}


def test_a_whole_channel_is_never_agreed_to(acme: Server) -> None:
    subject = {"userId": fresh("user")}
    answer = choose(acme, subject, {}, channels={"sms": True})
    assert (answer.status, answer.json["code"], answer.json["field"]) == (
        400,
        "channel_grants_nothing",
        "channels.sms",
    )
    spelled = choose(acme, subject, {}, topics={"*": {"sms": True}})
    assert (spelled.status, spelled.json["unknown"]) == (201, ["topic:*:sms"])
    assert said(ask(acme, subject, ("news", "sms"))) == {"news:sms": NO}


def test_transactional_messages_need_no_consent_and_a_suppressed_person_gets_none(
    acme: Server,
) -> None:
    subject = {"email": f"{fresh('ann')}@example.com"}
    withdraw(acme, subject)
    decided = ask(acme, subject, ("orders", "email"), ("news", "email"))
    assert said(decided) == {"orders:email": ("allow", "exempt"), "news:email": NO}
    assert decided["orders:email"]["grounds"] == [{"transactional": WHY}]
    assert lookup(acme, subject)["topics"]["orders"]["email"]["transactional"] == WHY

    call(acme.base, "POST", "/v1/subjects/suppress", {"subject": subject}, key=ADMIN_KEY)
    decided = ask(acme, subject, ("orders", "email"), ("news", "email"))
    gone = ("withhold", "suppressed")
    assert said(decided) == {"orders:email": gone, "news:email": gone}


def bring(acme: Server, *choices: dict[str, Any]) -> Answer:
    return call(acme.base, "POST", "/v1/imports", {"choices": choices}, key=ADMIN_KEY)


def test_imports_bring_topics_and_refused_channels(acme: Server) -> None:
    ann, ben = ({"email": f"{fresh(name)}@example.com"} for name in ("ann", "ben"))
    at = "2026-01-01T00:00:00Z"
    yes = {"preferences": {}, "topics": {"news": {"email": True}}, "timestamp": at}
    answer = bring(
        acme,
        {"subject": ann, **yes},
        {"subject": ben, "preferences": {}, "channels": {"email": False}},
        {"subject": ben, **yes},
        {"subject": ben, "preferences": {}, "channels": {"email": True}},
    )
    assert (answer.json["recorded"], len(answer.json["rejected"])) == (3, 1)
    assert answer.json["rejected"][0]["code"] == "channel_grants_nothing"
    assert said(ask(acme, ann, ("news", "email"))) == {"news:email": YES}
    assert said(ask(acme, ben, ("news", "email"))) == {"news:email": NO}


def test_a_topic_or_channel_that_nobody_has_is_withheld(acme: Server) -> None:
    pairs = (("weather", "email"), ("news", "fax"), ("*", "sms"), ("", ""))
    decided = ask(acme, {"userId": fresh("user")}, *pairs)
    assert set(said(decided).values()) == {NO}


def test_the_policy_says_which_topics_are_transactional(acme: Server) -> None:
    policy = call(acme.base, "GET", f"/v1/projects/{WRITE_KEY}/policy").json
    assert [topic["id"] for topic in policy["topics"]] == ["news", "offers"]
    orders = {"id": "orders", "name": "Orders", "channels": ["email", "sms"], "why": WHY}
    assert policy["transactional"] == [orders]
