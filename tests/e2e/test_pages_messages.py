"""Topics on the pages: one-click for a channel as a whole, and what is sent without consent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.asking import choose, fresh, lookup
from tests.e2e.paging import PAGES, Form, get, link, post, shop
from tests.running import ADMIN_KEY, Server, call

WHY = "Confirms what was bought: performance of the contract"
ORDERS = f"""
[[topic]]
id = "orders"
name = "Orders"
channels = ["email"]
transactional = "{WHY}"
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop(tmp_path_factory.mktemp("acme"), ORDERS, PAGES) as running:
        yield running


def person() -> dict[str, str]:
    return {"email": f"{fresh('ann')}@example.com"}


def effective(acme: Server, subject: dict[str, str]) -> dict[str, str]:
    topics = lookup(acme, subject)["topics"].items()
    return {f"{t}:{c}": one["effective"] for t, by in topics for c, one in by.items()}


ALL = {"news": {"email": True, "sms": True}, "offers": {"email": True}}


def test_one_click_ends_a_channel_and_nothing_else(acme: Server) -> None:
    subject = person()
    choose(acme, subject, {"analytics": True}, topics=ALL)
    there = link(acme, subject, "withdraw", channels=["email"])
    page = get(acme, there)
    assert (page.status, effective(acme, subject)["news:email"]) == (200, "granted")
    assert b"Newsletter" in page.body
    assert b"Orders" not in page.body  # what does not end is not said to end

    assert post(acme, there, {"List-Unsubscribe": "One-Click"}).status == 200
    assert effective(acme, subject) == {
        "news:email": "denied",
        "news:sms": "granted",
        "offers:email": "denied",
        "orders:email": "granted",
    }
    assert lookup(acme, subject)["channels"]["email"]["state"] == "denied"
    assert lookup(acme, subject)["preferences"]["analytics"]["effective"] == "granted"


def test_a_link_to_a_channel_that_no_topic_has_is_not_made(acme: Server) -> None:
    body = {"subject": person(), "type": "withdraw", "channels": ["fax"]}
    answer = call(acme.base, "POST", "/v1/links", body, key=ADMIN_KEY)
    assert (answer.status, answer.json["field"]) == (400, "channels")


def test_what_is_sent_without_consent_stands_there_with_why_and_without_a_switch(
    acme: Server,
) -> None:
    subject = person()
    there = link(acme, subject, "edit")
    page = get(acme, there)
    assert WHY.encode() in page.body
    assert not [s for s in Form(page.body).switches if "orders" in s]

    said = [("do", "save"), *Form(page.body).hidden, ("shown", "topic:orders:email")]
    assert post(acme, there, said).status == 200
    told = lookup(acme, subject)["topics"]
    assert told["orders"]["email"]["state"] == "never_collected"
    assert told["news"]["email"]["state"] == "denied"

    call(acme.base, "POST", "/v1/subjects/suppress", {"subject": subject}, key=ADMIN_KEY)
    assert WHY.encode() not in get(acme, there).body  # it is true no more


def offered(page: bytes) -> list[str]:
    """The channels that a page offers to stop."""
    return [
        value.removeprefix("stop:") for value in Form(page).buttons if value.startswith("stop:")
    ]


def history(acme: Server, subject: dict[str, str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lookup(acme, subject, history=True)["history"]
    return sorted(found, key=lambda record: record["seq"])


def test_a_channel_is_stopped_on_the_page(acme: Server) -> None:
    """What was turned off beside it counts, what was turned on does not."""
    subject = person()
    choose(acme, subject, {"analytics": True}, topics=ALL)
    there = link(acme, subject, "edit")
    page = get(acme, there)
    assert offered(page.body) == ["email", "sms"]
    on = [s for s in Form(page.body).switches if s.startswith("topic:")]
    said = [("do", "stop:email"), *Form(page.body).hidden, *(("on", s) for s in on)]
    said.append(("on", "advertising"))  # and analytics was turned off
    done = post(acme, there, said)
    assert done.status == 200
    assert effective(acme, subject) == {
        "news:email": "denied",
        "news:sms": "granted",
        "offers:email": "denied",
        "orders:email": "granted",
    }
    told = lookup(acme, subject)
    assert told["channels"]["email"]["state"] == "denied"
    assert told["channels"]["sms"]["state"] == "never_collected"
    prefs = {name: one["effective"] for name, one in told["preferences"].items()}
    assert (prefs["analytics"], prefs["advertising"]) == ("denied", "denied")
    evidence = history(acme, subject)[-1]["evidence"]
    assert (evidence["action"], evidence["surface"]) == ("withdraw", "preference_centre")
    assert evidence["noticeKnown"] is True
    assert offered(done.body) == ["sms"]
    assert b"Stopped: nothing comes this way." in done.body

    # A topic that is turned on again comes, and then there is something to stop again.
    again = [("do", "save"), *Form(done.body).hidden, ("on", "topic:news:email")]
    assert offered(post(acme, there, again).body) == ["email", "sms"]
    assert effective(acme, subject)["news:email"] == "granted"
    assert effective(acme, subject)["offers:email"] == "denied"


def test_a_channel_that_the_page_does_not_have_is_not_stopped(acme: Server) -> None:
    subject = person()
    bound = link(acme, subject, "edit", topics={"news": {"email": True}})
    page = get(acme, bound)
    assert offered(page.body) == []
    for there, channel in ((bound, "email"), (link(acme, subject, "edit"), "fax")):
        said = [("do", f"stop:{channel}"), *Form(page.body).hidden]
        assert post(acme, there, said).status == 400
    assert history(acme, subject) == []


def test_a_withdraw_link_about_everything_can_stop_one_channel(acme: Server) -> None:
    subject = person()
    choose(acme, subject, {"analytics": True}, topics=ALL)
    bound = link(acme, subject, "withdraw", topics={"news": {"sms": True}})
    assert offered(get(acme, bound).body) == []
    assert post(acme, bound, [("do", "stop:email")]).status == 400
    there = link(acme, subject, "withdraw")
    page = get(acme, there)
    assert offered(page.body) == ["email", "sms"]
    assert post(acme, there, [("do", "stop:sms"), *Form(page.body).hidden]).status == 200
    told = lookup(acme, subject)
    assert told["channels"]["sms"]["state"] == "denied"
    assert told["channels"]["email"]["state"] == "never_collected"
    assert effective(acme, subject)["news:email"] == "granted"
    assert told["preferences"]["analytics"]["effective"] == "granted"
