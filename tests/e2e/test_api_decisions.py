"""Decisions in bulk: what would be decided, and that it is what happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.asking import (
    BOTH,
    NEITHER,
    acme_with,
    choose,
    decide,
    fresh,
    hook,
    message,
    send,
    update,
    withdraw,
)
from tests.running import ADMIN_KEY, BACKEND_KEY, WRITE_KEY, Answer, Server, StandIn, call

MORE = """
[[topic]]
id = "news"
name = "News"
channels = ["email"]
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """Destinations of every sort: any, unmapped, exempt, turned off, told of choices."""
    more = MORE + "".join(
        hook(vendors.base, name, rest)
        for name, rest in {
            "either": 'categories = ["advertising", "analytics"]\nmatch = "any"',
            "unmapped": "",
            "exempt": 'exempt = "fraud prevention"',
            "off": 'categories = ["analytics"]\nenabled = false',
            "partner": 'categories = ["advertising"]\nshare_consent = true',
        }.items()
    )
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=more) as running:
        yield running


def ask(acme: Server, *items: Any, key: str = ADMIN_KEY) -> Answer:
    return call(acme.base, "POST", "/v1/decisions", {"items": items}, key=key)


def test_every_kind_of_question_is_answered_in_order(acme: Server) -> None:
    device = fresh("dev")
    record = choose(acme, {"anonymousId": device}, BOTH, topics={"news": {"email": True}}).json
    subject = {"anonymousId": device}
    answer = ask(
        acme,
        {"id": "event", "event": message(anonymousId=device)},
        {"id": "subject", "subject": subject, "destinations": ["ads", "off"]},
        {"id": "topic", "subject": subject, "topic": "news", "channel": "email"},
        {"id": "other topic", "subject": subject, "topic": "news", "channel": "sms"},
    )
    assert answer.status == 200
    assert answer.json.keys() == {"decidedAt", "policyVersion", "items"}
    event, about, topic, unknown = answer.json["items"]
    assert [event["id"], about["id"], topic["id"]] == ["event", "subject", "topic"]
    decided = {d["destination"]: (d["decision"], d["reason"]) for d in event["decisions"]}
    assert decided == {
        "warehouse": ("allow", "consented"),
        "ads": ("allow", "consented"),
        "either": ("allow", "consented"),
        "unmapped": ("withhold", "unmapped"),
        "exempt": ("allow", "exempt"),
        "off": ("withhold", "destination_disabled"),
        "partner": ("allow", "consented"),
    }
    assert [d["destination"] for d in about["decisions"]] == ["ads", "off"]
    ads = about["decisions"][0]
    assert ads["grounds"] == [{"recordId": record["recordId"]}]
    assert ads["categories"][0] == {"id": "advertising", "effective": "granted", "why": None}
    assert [(d["topic"], d["channel"], d["decision"]) for d in topic["decisions"]] == [
        ("news", "email", "allow")
    ]
    assert unknown["decisions"][0]["decision"] == "withhold"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "invalid_item"),
    "both": ({"event": message(), "subject": {"userId": "u"}}, "invalid_item"),
    "a topic without its channel": (
        {"subject": {"userId": "u"}, "topic": "news"},
        "invalid_item",
    ),
    "an unknown destination": (
        {"subject": {"userId": "u"}, "destinations": ["nowhere"]},
        "unknown_destination",
    ),
    "nobody": ({"subject": {}}, "missing_id"),
    "a malformed event": ({"event": {"type": "track", "event": "X"}}, "missing_id"),
    "a preference that is no boolean": ({"event": message(stamp={"a": 1})}, "invalid_type"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bad_question_spoils_no_other(acme: Server, case: str) -> None:
    item, code = WRONG[case]
    good = {"id": "good", "subject": {"userId": "u"}}
    answer = ask(acme, {"id": "bad", **item}, good)
    assert answer.status == 200
    bad, after = answer.json["items"]
    assert (bad["id"], bad["error"]["code"]) == ("bad", code)
    assert bad["error"]["message"]
    assert after["decisions"]


def test_asking_sends_and_records_nothing(acme: Server, vendors: StandIn) -> None:
    one = update(BOTH, userId=fresh("user"))
    identify = message("identify", userId=fresh("user"), stamp=BOTH)
    before = acme.admin("GET", "/v1/ledger").body
    requests = len(vendors.journal())
    for each in (one, identify):
        assert decide(acme, {"event": each})["warehouse"]["decision"] == "allow"
        assert acme.admin("GET", f"/v1/events/{each['messageId']}").status == 404
    assert acme.admin("GET", "/v1/ledger").body == before
    assert len(vendors.journal()) == requests


def test_who_may_ask(acme: Server) -> None:
    item = {"id": "1", "subject": {"userId": "u"}}
    assert ask(acme, item, key=BACKEND_KEY).status == 200
    assert (ask(acme, item, key=WRITE_KEY).status, ask(acme, item, key="x").status) == (403, 401)


def test_ten_thousand_at_once(acme: Server) -> None:
    items = [
        {"id": str(n), "event": message(stamp=BOTH if n % 2 else NEITHER)} for n in range(10_000)
    ]
    began = time.monotonic()
    answer = ask(acme, *items)
    took_s = time.monotonic() - began
    assert answer.status == 200
    decided = [item["decisions"][0]["decision"] for item in answer.json["items"]]
    assert decided == ["withhold", "allow"] * 5000
    assert took_s < 10  # measured at 1 to 2 s; ten leave room for a busy machine
    assert ask(acme, *items, items[0]).status == 400


# -- what is explained is what happens ------------------------------------------------------------
def device_denied() -> Any:
    device = fresh("dev")
    return lambda s: withdraw(s, {"anonymousId": device}), message(stamp=BOTH, anonymousId=device)


def account_denied() -> Any:
    user = fresh("user")
    return lambda s: withdraw(s, {"userId": user}), message(stamp=BOTH, userId=user)


def linked_account_denied() -> Any:
    device, user = fresh("dev"), fresh("user")

    def before(server: Server) -> None:
        send(server, message("identify", anonymousId=device, userId=user))
        withdraw(server, {"userId": user}, categories=["advertising"])

    return before, message(stamp=BOTH, anonymousId=device)


def contact_denied() -> Any:
    email = f"{fresh('mail')}@example.com"
    one = message("identify", stamp=BOTH, userId=fresh("user"), traits={"email": email.upper()})
    return lambda s: withdraw(s, {"email": email}), one


def previous_device_denied() -> Any:
    device = fresh("dev")
    one = message("alias", stamp=BOTH, previousId=device, anonymousId=None)
    return lambda s: withdraw(s, {"anonymousId": device}), one


def merged_account_denied() -> Any:
    old, new = fresh("user"), fresh("user")

    def before(server: Server) -> None:
        choose(server, {"userId": new}, BOTH)
        withdraw(server, {"userId": old})

    return before, message("alias", previousId=old, userId=new, anonymousId=None)


def granted_on_record() -> Any:
    device = fresh("dev")
    return lambda s: choose(s, {"anonymousId": device}, BOTH), message(anonymousId=device)


def made_before_the_grant() -> Any:
    device = fresh("dev")
    one = message(anonymousId=device, timestamp="2026-01-01T00:00:00Z")
    return lambda s: choose(s, {"anonymousId": device}, BOTH), one


def plain(**more: Any) -> Any:
    return lambda: (lambda s: None, message(**more))


HAPPENINGS: dict[str, Any] = {
    "unstamped": plain(),
    "stamped with both": plain(stamp=BOTH),
    "stamped with one": plain(stamp={"analytics": True}),
    "an empty stamp": plain(stamp={}),
    "an empty consent": plain(context={"consent": {}}),
    "an empty consent beside integrations": plain(
        context={"consent": {}}, integrations={"ads": True}
    ),
    "the draft form": plain(context={"consentCategories": BOTH}),
    "RudderStack's form": plain(
        context={"consentManagement": {"allowedConsentIds": ["analytics"]}}
    ),
    "two forms that disagree": plain(
        context={"consent": {"categoryPreferences": BOTH}, "consentCategories": NEITHER}
    ),
    "an unknown category": plain(stamp={**BOTH, "weather": False}),
    "integrations say no": plain(stamp=BOTH, integrations={"ads": False}),
    "integrations say none": plain(stamp=BOTH, integrations={"All": False}),
    "integrations name one": plain(stamp=BOTH, integrations={"All": False, "ads": {"x": 1}}),
    "integrations in another case": plain(stamp=BOTH, integrations={"All": False, "Ads": True}),
    "a choice": lambda: (lambda s: None, update({"analytics": True})),
    "a choice about an account": lambda: (lambda s: None, update(BOTH, userId=fresh("user"))),
    "a choice about an account alone": lambda: (
        lambda s: None,
        update(BOTH, userId=fresh("user"), anonymousId=None),
    ),
    "a denial of the device": device_denied,
    "a denial of the account": account_denied,
    "a denial of the account it is linked to": linked_account_denied,
    "a denial of the e-mail it names": contact_denied,
    "a denial of the device it links": previous_device_denied,
    "a denial of the account it merges": merged_account_denied,
    "a grant on record": granted_on_record,
    "made before the grant": made_before_the_grant,
}


@pytest.mark.parametrize("key", [WRITE_KEY, BACKEND_KEY])
@pytest.mark.parametrize("case", HAPPENINGS)
def test_what_is_explained_is_what_happens(acme: Server, case: str, key: str) -> None:
    before, one = HAPPENINGS[case]()
    before(acme)
    explained = decide(acme, {"event": {**one, "writeKey": key}})
    send(acme, one, key=key)
    happened = acme.event(one["messageId"])
    for name, delivery in happened.items():
        expected = "delivered" if explained[name]["decision"] == "allow" else "withheld"
        assert delivery["state"] == expected, name
        for member in ("decision", "reason"):
            assert delivery["decision"][member] == explained[name][member], name
        assert [c["id"] for c in delivery["decision"]["categories"]] == [
            c["id"] for c in explained[name]["categories"]
        ]
    # without a key of its own, an event is asked about as the asker's
    if key == BACKEND_KEY:
        plainly = decide(acme, {"event": one}, key=BACKEND_KEY)
        assert {n: d["decision"] for n, d in plainly.items()} == {
            n: d["decision"] for n, d in explained.items()
        }
