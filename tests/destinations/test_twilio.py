"""Twilio: rows that failed in a 201, and people who answer STOP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.destinations import twilio
from consentry.destinations.instruction import Heard, InboundCall, Person, Unproven
from consentry.destinations.message import Response
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .instructions import instruction
from .wire_server import answer, serving

SID = "AC" + "1" * 32
URL = "https://consent.example/v1/inbound/texts"


def options(url: str = "https://accounts.twilio.com", *tokens: str) -> twilio.Options:
    return twilio.Options(
        account_sid=SID,
        auth_token=tuple(map(Secret, tokens or ("t0ken",))),
        sender_id="MG" + "2" * 32,
        base_url=url,
    )


@pytest.mark.parametrize(("verb", "status"), [(Verb.SUPPRESS, "opt-out"), (Verb.GRANT, "opt-in")])
def test_an_order_in_twilios_words(verb: Verb, status: str) -> None:
    order = instruction(verb, person=Person(phones=("+49 151 123",)))
    assert order.made_at != order.received_at
    ((_, item),) = twilio.rows_of([order], options())
    request = twilio.order_request([item], options())
    assert request.url == "https://accounts.twilio.com/v1/Consents/Bulk"
    pair = base64.b64encode(f"{SID}:t0ken".encode()).decode()
    assert dict(request.headers)["Authorization"] == f"Basic {pair}"
    (text,) = parse_qs(request.body.decode())["Items"]
    told = json.loads(text)
    assert len(told.pop("correlation_id")) == 32
    assert told == {
        "contact_id": "+49151123",
        "sender_id": "MG" + "2" * 32,
        "status": status,
        "source": "others",
        "date_of_consent": order.made_at if verb is Verb.GRANT else order.received_at,
    }


def test_the_correlation_id_is_that_of_every_attempt_and_of_no_other_number() -> None:
    order = instruction(person=Person(phones=("+491", "+492")))
    first = [item["correlation_id"] for _, item in twilio.rows_of([order], options())]
    again = [item["correlation_id"] for _, item in twilio.rows_of([order], options())]
    assert first == again
    assert len(set(first)) == 2


def row(code: Any, *messages: str, correlation: str = "c") -> Response:
    item = {"correlation_id": correlation, "error_code": code, "error_messages": list(messages)}
    return Response(201, {}, json.dumps({"items": [item]}).encode())


ROWS: dict[str, tuple[Response, Grade]] = {
    "taken": (row(0), Grade.ACCEPTED),
    "failed in a 201": (row(30646, "INVALID_CONTACT_ID"), Grade.FAILED_FINAL),
    "failed, and that passes": (row(30646, "INTERNAL_SERVER_ERROR"), Grade.FAILED_RETRY),
    "a code that is none": (row(None), Grade.FAILED_FINAL),
    "false is no code": (row(False), Grade.FAILED_FINAL),
    "no word of this row": (row(0, correlation="other"), Grade.FAILED_RETRY),
    "not its words": (Response(201, {}, b"<html>"), Grade.FAILED_RETRY),
    "locked": (Response(401, {}, b"{}"), Grade.AUTH_BLOCKED),
}


@pytest.mark.parametrize(("response", "grade"), ROWS.values(), ids=list(ROWS))
def test_what_a_row_came_to(response: Response, grade: Grade) -> None:
    assert twilio.order_outcome(response, "c").grade is grade


async def test_over_25_numbers_are_several_requests_and_the_worst_counts() -> None:
    people = [Person(phones=(f"+4915{n:04}", f"+4916{n:04}")) for n in range(13)]
    orders = [instruction(person=who) for who in people]
    items = [item for _, item in twilio.rows_of(orders, options())]
    rows = [{"correlation_id": i["correlation_id"], "error_code": 0} for i in items]
    rows[3]["error_code"] = 30646  # the second person's second number
    body = json.dumps({"items": rows}).encode()
    client = OutboundClient(allow_private=True)
    async with serving(answer(201, body)) as server:
        attempted = await twilio.obey(client, orders, options(server.url), None)
        sizes = [
            len(parse_qs(r.rpartition(b"\r\n\r\n")[2].decode())["Items"]) for r in server.requests
        ]
    await client.close()
    assert sizes == [25, 1]
    failed = [n for n, o in enumerate(attempted.outcomes) if o.grade is Grade.FAILED_FINAL]
    assert failed == [1]


@pytest.mark.parametrize(
    ("verb", "changes"),
    [
        (Verb.GRANT, {"whole": True}),  # it would lift a STOP
        (Verb.SUPPRESS, {"whole": False, "topics": (("news", "email"),)}),
        (Verb.ERASE, {}),
    ],
)
async def test_what_is_not_said(verb: Verb, changes: dict[str, Any]) -> None:
    client = OutboundClient(allow_private=True)
    async with serving(answer(201)) as server:
        order = instruction(verb, **changes)
        attempted = await twilio.obey(client, [order], options(server.url), None)
        assert server.connections == 0
    await client.close()
    assert attempted.outcomes[0].grade is Grade.GATED


# Heard


def called(token: str = "t0ken", url: str = URL, **changes: str) -> InboundCall:
    form = {
        "AccountSid": SID,
        "MessageSid": "SM1",
        "From": "+4915112345678",
        "To": "+1555",
        "Body": "Stop ",
    } | changes
    signed = url + "".join(name + form[name] for name in sorted(form))
    mac = hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    headers = {"x-twilio-signature": base64.b64encode(mac).decode()}
    return InboundCall("POST", url, headers, urlencode(form).encode(), 0)


ALICE = Node(NodeKind.PHONE, "+4915112345678")
SAID: dict[str, tuple[dict[str, str], Heard | None]] = {
    "stop": ({}, Heard(ALICE, True, "STOP", "twilio:SM1", channels=("sms",))),
    "in Twilio's reading": (
        {"OptOutType": "STOP", "Body": "arret"},
        Heard(ALICE, True, "STOP", "twilio:SM1", channels=("sms",)),
    ),
    "start": ({"Body": "START"}, Heard(ALICE, False, "START", "twilio:SM1", channels=("sms",))),
    "help": ({"OptOutType": "HELP", "Body": "HELP"}, None),
    "a sentence": ({"Body": "please stop texting me"}, None),
    "another channel": ({"From": "whatsapp:+4915112345678"}, None),
    "no number": ({"MessageSid": ""}, None),
}


@pytest.mark.parametrize(("changes", "heard"), SAID.values(), ids=list(SAID))
def test_what_somebody_said(changes: dict[str, str], heard: Heard | None) -> None:
    assert twilio.hear(called(**changes), options()) == (() if heard is None else (heard,))


def test_a_token_that_is_being_replaced_still_signs() -> None:
    assert twilio.hear(called(token="old"), options("https://x.example", "new", "old"))


@pytest.mark.parametrize(
    ("signed", "told"),
    [
        ("https://consent.example:443/in", "https://consent.example/in"),
        ("https://consent.example/in", "https://consent.example:443/in"),
        ("http://consent.example:8080/in?a=b", "http://consent.example:8080/in?a=b"),
    ],
)
def test_with_the_port_or_without(signed: str, told: str) -> None:
    call = called(url=signed)
    again = InboundCall("POST", told, call.headers, call.body, 0)
    assert twilio.hear(again, options())


def refused() -> dict[str, InboundCall]:
    good = called()
    other = {"x-twilio-signature": base64.b64encode(b"x" * 20).decode()}
    shared = {
        **good.headers,
        "x-twilio-webhooks-signature-settings": "key=k,algorithm=HMAC_SHA256",
    }
    return {
        "unsigned": InboundCall("POST", URL, {}, good.body, 0),
        "signed by another": called(token="other"),
        "signed for another address": InboundCall("POST", URL + "2", good.headers, good.body, 0),
        "no signature of this": InboundCall("POST", URL, other, good.body, 0),
        "a parameter was added": InboundCall("POST", URL, good.headers, good.body + b"&A=1", 0),
        "a parameter was changed": InboundCall(
            "POST", URL, good.headers, good.body.replace(b"5678", b"5679"), 0
        ),
        "another account": called(AccountSid="AC" + "3" * 32),
        "no form": InboundCall("POST", URL, good.headers, b"\xff", 0),
        "signed with a shared key": InboundCall("POST", URL, shared, good.body, 0),
    }


@pytest.mark.parametrize("call", refused().values(), ids=list(refused()))
def test_what_is_not_proven_is_not_believed(call: InboundCall) -> None:
    with pytest.raises(Unproven):
        twilio.hear(call, options())
