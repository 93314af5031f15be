"""What a vendor tells us: an opt-out over there is a choice here, and nobody hears an echo."""

from __future__ import annotations

import base64
import hashlib
import hmac
import urllib.parse
from typing import Any

import pytest

from tests.e2e.asking import choose, fresh, lookup, state, verify
from tests.running import Answer, Server, StandIn, server, wait_for

TOKEN = "twilio-token-0123456789"
OTHER = "other-token-0123456789"
ACCOUNT = "AC" + "0" * 32
MORE = """
[[topic]]
id = "news"
channels = ["email", "sms"]
[[destination]]
name = "mailer"
kind = "webhook"
topics = ["news"]
url = "{stand_in}/webhook/mailer"
secret = "env:HOOK_SECRET"
[[destination]]
name = "texts"
kind = "twilio"
topics = ["news"]
account_sid = "{account}"
auth_token = "env:TWILIO_TOKEN"
sender_id = "MG1"
base_url = "{stand_in}/twilio"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Any:
    more = MORE.format(stand_in=vendors.base, account=ACCOUNT)
    with server(
        tmp_path_factory.mktemp("inbound"), vendors.base, more=more, TWILIO_TOKEN=TOKEN
    ) as running:
        yield running


def text(
    shop: Server, sender: str, body: str, *, token: str = TOKEN, number: str | None = None
) -> Answer:
    """An incoming message, as Twilio tells of it."""
    form = {
        "AccountSid": ACCOUNT,
        "MessageSid": number or fresh("SM"),
        "From": sender,
        "To": "+4915100000000",
        "Body": body,
    }
    signed = f"{shop.base}/v1/inbound/texts" + "".join(k + form[k] for k in sorted(form))
    mac = hmac.digest(token.encode(), signed.encode(), hashlib.sha1)
    headers = {
        "X-Twilio-Signature": base64.b64encode(mac).decode(),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return post(shop, "/v1/inbound/texts", urllib.parse.urlencode(form).encode(), headers)


def post(shop: Server, path: str, body: bytes, headers: dict[str, str]) -> Answer:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=30)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


_numbers = iter(range(10_000))


def phone() -> str:
    return f"+49151{next(_numbers):08d}"


def told(vendors: StandIn, number: str) -> list[str]:
    found = vendors.orders("mailer")
    return [b["type"] for b in found if number in b["data"]["subject"]["phones"]]


def orders(shop: Server, number: str) -> list[dict[str, Any]]:
    answer = shop.admin("POST", "/v1/propagation/lookup", {"subject": {"phone": number}})
    return list(reversed(answer.json["orders"]))


def test_a_stop_is_a_choice_and_the_other_systems_hear_of_it(shop: Server, well: StandIn) -> None:
    number = phone()
    choose(shop, {"phone": number}, {}, topics={"news": {"sms": True}})
    wait_for(lambda: told(well, number) == ["consent.granted"], what="the grant")
    answer = text(shop, number, "STOP")
    assert (answer.status, answer.json) == (200, {"taken": 1})
    wait_for(lambda: told(well, number)[1:] == ["consent.withdrawn"], what="the refusal")
    found = lookup(shop, {"phone": number})
    assert state(found["topics"]["news"], "sms")[0] == "denied"
    (latest, *_) = lookup(shop, {"phone": number}, history=True)["history"]
    assert latest["source"] == "inbound:texts"
    assert latest["evidence"]["said"] == "STOP"
    verbs = [(o["destination"], o["verb"]) for o in orders(shop, number)]
    assert ("texts", "suppress") not in verbs  # it told us
    verify(shop)


def test_the_same_call_again_is_the_same_choice(shop: Server, well: StandIn) -> None:
    number, sid = phone(), fresh("SM")
    choose(shop, {"phone": number}, {}, topics={"news": {"sms": True}})
    for _ in range(3):
        assert text(shop, number, "stop", number=sid).status == 200
    history = lookup(shop, {"phone": number}, history=True)["history"]
    assert [entry["source"] for entry in history].count("inbound:texts") == 1


def test_what_is_refused_already_is_recorded_and_owes_nothing(shop: Server, well: StandIn) -> None:
    number = phone()
    text(shop, number, "STOP")
    wait_for(lambda: told(well, number) == ["consent.withdrawn"], what="the refusal")
    before = len(orders(shop, number))
    for _ in range(3):
        assert text(shop, number, "STOP").status == 200
    assert len(orders(shop, number)) == before
    history = lookup(shop, {"phone": number}, history=True)["history"]
    assert [entry["source"] for entry in history].count("inbound:texts") == 4


def test_a_yes_over_there_grants_nothing(shop: Server, well: StandIn) -> None:
    number = phone()
    text(shop, number, "STOP")
    assert text(shop, number, "START").status == 200
    found = lookup(shop, {"phone": number}, history=True)
    assert state(found["topics"]["news"], "sms")[0] == "denied"
    assert found["history"][0]["evidence"]["said"] == "START"
    assert {o["verb"] for o in orders(shop, number)} <= {"gate", "suppress"}


def test_who_cannot_sign_is_believed_nothing(shop: Server, well: StandIn) -> None:
    number = phone()
    assert text(shop, number, "STOP", token=OTHER).status == 401
    assert post(shop, "/v1/inbound/texts", b"", {}).status == 401
    assert post(shop, "/v1/inbound/nobody", b"", {}).status == 404
    assert post(shop, "/v1/inbound/mailer", b"", {}).status == 404
    assert lookup(shop, {"phone": number}, history=True)["history"] == []
    assert shop.admin("GET", "/v1/inbound/texts").status == 200
    assert shop.admin("GET", "/v1/inbound/mailer").status == 404
