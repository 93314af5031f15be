"""A device whose clock is an hour fast, and whose requests overtake each other, at a real server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.asking import BOTH, NEITHER, decide, fresh, lookup, verify
from tests.e2e.test_api_orders import by, settled
from tests.running import WRITE_KEY, Answer, Server, call

SITE = "https://shop.example"
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def clock(since: timedelta) -> str:
    """What the device's clock says, so long from now."""
    return (datetime.now(UTC) + HOUR + since).isoformat()


def letter(device: str, said: dict[str, bool], written: timedelta) -> dict[str, Any]:
    """An answer that was written so long from now, as a page keeps it and sends it at once."""
    at = clock(written)
    subject = {"anonymousId": device}
    return {"subject": subject, "preferences": said, "timestamp": at, "sentAt": at}


def post(server: Server, body: dict[str, Any], key: str, **headers: str) -> Answer:
    headers = {"Idempotency-Key": key, **headers}
    return call(server.base, "POST", "/v1/consent", body, basic=WRITE_KEY, headers=headers)


def allowed(server: Server, device: str) -> bool:
    asked = {"subject": {"anonymousId": device}, "destinations": ["warehouse"]}
    return bool(decide(server, asked)["warehouse"]["decision"] == "allow")


def test_a_yes_that_comes_after_a_later_no_lifts_nothing_and_is_told_to_nobody(
    acme: Server,
) -> None:
    device = fresh("fast")
    yes = letter(device, BOTH, -6 * MINUTE)
    assert post(acme, letter(device, NEITHER, -MINUTE), fresh("no")).status == 201

    answer = post(acme, yes, fresh("yes"))

    assert answer.status == 201, answer.body
    assert answer.json["preferences"]["analytics"]["effective"] == "denied"
    assert not allowed(acme, device)
    record = lookup(acme, {"anonymousId": device}, history=True)["history"][0]
    assert record["evidence"]["overtaken"] == ["advertising", "analytics"]
    verbs = {verb for verb, _, _ in by(settled(acme, anonymousId=device), "warehouse")}
    assert "gate" in verbs
    assert "grant" not in verbs
    acme.stop()
    acme.start()
    assert not allowed(acme, device)
    verify(acme)


def test_a_yes_that_was_said_after_the_no_is_one(acme: Server) -> None:
    device = fresh("fast")
    post(acme, letter(device, NEITHER, -6 * MINUTE), fresh("no"))
    post(acme, letter(device, BOTH, timedelta(0)), fresh("yes"))
    assert allowed(acme, device)


@pytest.mark.parametrize(("told", "expected"), [(True, False), (False, True)])
def test_what_waited_in_the_page_is_as_old_as_it_says_by_whichever_door_the_no_came(
    acme: Server, told: bool, expected: bool
) -> None:
    device = fresh("fast")
    yes = letter(device, BOTH, -6 * MINUTE)
    body = {"subject": {"anonymousId": device}}
    assert call(acme.base, "POST", "/v1/consent/withdraw", body, basic=WRITE_KEY).status == 201
    post(acme, yes, fresh("yes"), **({"Consentry-Sent-At": clock(timedelta(0))} if told else {}))
    # Who does not say when it left is believed to have sent it at once: docs/decisions/0019.
    assert allowed(acme, device) is expected


def test_a_repetition_has_the_same_key_whenever_it_leaves(acme: Server) -> None:
    device, key = fresh("fast"), fresh("yes")
    yes = letter(device, BOTH, -MINUTE)
    first = post(acme, yes, key, **{"Consentry-Sent-At": clock(-MINUTE)})
    again = post(acme, yes, key, **{"Consentry-Sent-At": clock(timedelta(0))})
    assert (first.status, again.status) == (201, 200)
    assert first.json["recordId"] == again.json["recordId"]


def test_a_time_that_is_none_is_refused_by_its_name(acme: Server) -> None:
    yes = letter(fresh("fast"), BOTH, -MINUTE)
    answer = post(acme, yes, fresh("yes"), **{"Consentry-Sent-At": "soon"})
    assert (answer.status, answer.json["code"]) == (400, "invalid_time")
    assert answer.json["field"] == "Consentry-Sent-At"


def test_a_page_on_another_origin_may_say_when_it_sends(acme: Server) -> None:
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "consentry-sent-at, content-type, idempotency-key",
    }
    preflight = call(acme.base, "OPTIONS", "/v1/consent", headers=asked)
    assert "consentry-sent-at" in preflight.headers["access-control-allow-headers"].split(", ")
