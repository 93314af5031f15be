"""SendGrid: what is sent, a DELETE that enables mail again, and its signed event webhook."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sendgrid.helpers.eventwebhook import EventWebhook

from consentry.core import moment
from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.core.record import Node, NodeKind
from consentry.destinations import sendgrid
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found, Heard, InboundCall, Person, Unproven
from consentry.destinations.message import Request, Response
from consentry.destinations.obeying import Part
from consentry.destinations.sendgrid_orders import order_parts, outcome_of_echo
from consentry.destinations.sendgrid_wire import request_to
from consentry.destinations.transport import OutboundClient
from tests.destinations.crm import EVERYWHERE, NEWS, UNKNOWN_TOPIC, event, order, sendgrid_options
from tests.running import StandIn, stand_in

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
EMAIL = "alice@example.com"


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    with stand_in() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


def requests_of(verb: Verb, topics: Any = (), **options: Any) -> list[Request]:
    parts = order_parts([order(verb, topics)], sendgrid_options(**options))
    return [part.request for part in parts if isinstance(part, Part)]


ADDRESSES = {
    "type": "object",
    "additionalProperties": False,
    "minProperties": 1,
    "patternProperties": {
        "^(recipient_)?emails$": {"type": "array", "minItems": 1, "items": {"type": "string"}}
    },
}


def test_every_request_is_as_the_card_says() -> None:
    told = [
        (verb, request)
        for verb in (Verb.SUPPRESS, Verb.GRANT, Verb.ERASE)
        for topics in ((), NEWS)
        for request in requests_of(verb, topics, resubscribe=True)
    ]
    seen = {(verb, request.method, urlsplit(request.url).path) for verb, request in told}
    address = "/alice%40example.com"
    assert seen == {
        (Verb.SUPPRESS, "POST", "/v3/asm/suppressions/global"),
        (Verb.SUPPRESS, "POST", "/v3/asm/groups/10/suppressions"),
        (Verb.GRANT, "DELETE", "/v3/asm/suppressions/global" + address),
        (Verb.GRANT, "DELETE", "/v3/asm/groups/10/suppressions" + address),
        (Verb.ERASE, "POST", "/v3/marketing/contacts/search/emails"),
    }
    for _, request in told:
        assert dict(request.headers)["Authorization"] == "Bearer SG.1"
        if request.body:
            jsonschema.validate(json.loads(request.body), ADDRESSES)


async def test_no_event_is_sent(client: OutboundClient) -> None:
    assert frozenset() == sendgrid.SPEC.events
    with pytest.raises(Unsendable):
        sendgrid.request_for([event()], sendgrid_options(), NOW)
    attempted = await sendgrid.send(client, [event()], sendgrid_options(), None)
    assert [o.grade for o in attempted.outcomes] == [Grade.FAILED_FINAL]


ECHOES: dict[str, tuple[Any, Grade]] = {
    "all": ({"recipient_emails": ["A@example.com", "b@example.com"]}, Grade.ACCEPTED),
    "one": ({"recipient_emails": ["b@example.com"]}, Grade.FAILED_FINAL),
    "none": ({"recipient_emails": []}, Grade.NOOP),
    "no list": ({}, Grade.FAILED_RETRY),
}


@pytest.mark.parametrize(("body", "grade"), ECHOES.values(), ids=list(ECHOES))
def test_who_is_not_repeated_was_not_suppressed(body: Any, grade: Grade) -> None:
    emails = frozenset({"a@example.com", "b@example.com"})
    response = Response(201, {}, json.dumps(body).encode())
    assert outcome_of_echo(emails, response).grade is grade


# The trap: to delete is to mail again


class There:
    def __init__(self, running: StandIn, client: OutboundClient, name: str, **more: Any) -> None:
        self.running, self.client, self.name = running, client, name
        self.options = sendgrid_options(f"{running.base}/sendgrid/{name}", **more)

    async def obey(self, verb: Verb, topics: Any = (), **more: Any) -> Any:
        asked = order(verb, topics, **more)
        return (await sendgrid.obey(self.client, [asked], self.options, None)).outcomes[0]

    async def read(self, verb: Verb, topics: Any = ()) -> Found:
        asked = order(verb, topics)
        return (await sendgrid.read_back(self.client, asked, self.options, "")).found

    async def is_a_contact(self) -> None:
        body = {"contacts": [{"email": EMAIL}]}
        made = await self.client.send(request_to(self.options, "PUT", "marketing/contacts", body))
        assert made.status == 202

    def told(self) -> list[tuple[str, str]]:
        prefix = f"/sendgrid/{self.name}/v3/"
        entries = self.running.journal("sendgrid")
        return [(e["method"], e["path"]) for e in entries if e["path"].startswith(prefix)]


async def test_an_erasure_leaves_every_suppression_where_it_is(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "erase")
    await there.is_a_contact()
    await there.obey(Verb.SUPPRESS)
    await there.obey(Verb.SUPPRESS, NEWS)
    outcome = await there.obey(Verb.ERASE)
    assert outcome.grade is Grade.ACCEPTED
    assert outcome.ref.startswith("job-")
    assert await there.read(Verb.ERASE) is Found.EQUAL
    assert await there.read(Verb.SUPPRESS) is Found.EQUAL, "no mail, still"
    assert await there.read(Verb.SUPPRESS, NEWS) is Found.EQUAL
    deleted = [path for method, path in there.told() if method == "DELETE"]
    assert deleted == ["/sendgrid/erase/v3/marketing/contacts"]


async def test_the_stand_in_mails_again_after_a_delete(
    running: StandIn, client: OutboundClient
) -> None:
    """Else the test above could not fail."""
    there = There(running, client, "mails", resubscribe=True)
    await there.obey(Verb.SUPPRESS)
    assert (await there.obey(Verb.GRANT)).grade is Grade.ACCEPTED
    assert await there.read(Verb.SUPPRESS) is Found.DIFFERENT


async def test_a_whole_grant_lifts_nobodys_global_unsubscribe_unless_it_may(
    running: StandIn, client: OutboundClient
) -> None:
    there = There(running, client, "gated")
    await there.obey(Verb.SUPPRESS)
    outcome = await there.obey(Verb.GRANT)
    assert outcome.grade is Grade.GATED
    assert "resubscribe" in outcome.detail
    assert await there.read(Verb.SUPPRESS) is Found.EQUAL


async def test_who_is_no_contact_is_a_noop(running: StandIn, client: OutboundClient) -> None:
    there = There(running, client, "nobody")
    assert (await there.obey(Verb.ERASE)).grade is Grade.NOOP


@pytest.mark.parametrize("mode", ["noop", *EVERYWHERE])
async def test_an_erasure_in_every_mode(
    running: StandIn, client: OutboundClient, mode: str
) -> None:
    there = There(running, client, f"mode-{mode}")
    await there.is_a_contact()
    hasty = OutboundClient(allow_private=True, timeout_s=0.3)
    there.client = hasty
    for after in (0, 1):  # the search fails, or the deletion after it
        running.mode("sendgrid", mode, after=after)
        outcome = await there.obey(Verb.ERASE)
        if mode == "noop":
            assert outcome.grade is (Grade.ACCEPTED if after else Grade.NOOP)
        else:
            assert outcome.grade is EVERYWHERE[mode]
    running.mode("sendgrid", "ok")
    await hasty.close()


@pytest.mark.parametrize(
    "asked", [order(Verb.SUPPRESS, UNKNOWN_TOPIC), order(Verb.ERASE, person=Person(phones=("+1",)))]
)
async def test_what_cannot_be_told_is_gated(client: OutboundClient, asked: Any) -> None:
    options = sendgrid_options("http://127.0.0.1:1")
    (outcome,) = (await sendgrid.obey(client, [asked], options, None)).outcomes
    assert outcome.grade is Grade.GATED


# What SendGrid tells us: checked by its own SDK too

PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = b64encode(
    PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()
STAMP = "1795341600"


def call(body: bytes, **changes: str) -> InboundCall:
    signature = b64encode(PRIVATE.sign(STAMP.encode() + body, ec.ECDSA(SHA256()))).decode()
    assert EventWebhook(PUBLIC).verify_signature(body.decode(), signature, STAMP)
    prefix = "x-twilio-email-event-webhook-"
    headers = {f"{prefix}signature": signature, f"{prefix}timestamp": STAMP}
    headers |= {prefix + name: value for name, value in changes.items()}
    now = moment.from_datetime(NOW)
    return InboundCall("POST", "https://us.example/in", headers, body, now)


def signed_options() -> sendgrid.Options:
    return sendgrid_options(verification_key=(PUBLIC,))


def test_an_unsubscription_there_is_heard() -> None:
    told = [
        {"event": "unsubscribe", "email": "Alice@example.com"},
        {"event": "group_unsubscribe", "email": EMAIL, "asm_group_id": 10},
        {"event": "group_unsubscribe", "email": EMAIL, "asm_group_id": 99},
        {"event": "spamreport", "email": EMAIL},
        {"event": "group_resubscribe", "email": EMAIL, "asm_group_id": 10},
        {"event": "open", "email": EMAIL},
        {"event": "unsubscribe"},
    ]
    items = [e | {"sg_event_id": f"e{n}", "timestamp": 1_513_299_569} for n, e in enumerate(told)]
    found = sendgrid.hear(call(json.dumps(items).encode()), signed_options())
    node, at = Node(NodeKind.EMAIL, EMAIL), 1_513_299_569 * moment.SECOND
    assert found == (
        Heard(node, True, "unsubscribe", "e0", at, (), ("email",)),
        Heard(node, True, "group_unsubscribe", "e1", at, NEWS, ()),
        Heard(node, True, "spamreport", "e3", at, (), ("email",)),
        Heard(node, False, "group_resubscribe", "e4", at, NEWS, ()),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"timestamp": "1795341601"},
        {"timestamp": ""},
        {"signature": ""},
        {"signature": "not base64"},
        {"signature": b64encode(b"x" * 70).decode()},
    ],
)
def test_a_call_that_is_not_signed_is_not_believed(changes: dict[str, str]) -> None:
    with pytest.raises(Unproven):
        sendgrid.hear(call(b"[]", **changes), signed_options())


def test_without_a_key_or_with_another_nothing_is_believed() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    text = b64encode(other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    for keys in ((), (text,)):
        with pytest.raises(Unproven):
            sendgrid.hear(call(b"[]"), sendgrid_options(verification_key=keys))
    with pytest.raises(Unproven):
        sendgrid.hear(call(b"<"), signed_options())
    assert sendgrid.hear(call(b"[]"), sendgrid_options(verification_key=(text, PUBLIC))) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"groups": {"news:email": "ten"}}, "groups"),
        ({"groups": {"news:sms": "1"}}, "groups"),
        ({"verification_key": ("AAAA",)}, "verification_key"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=rf"^{says}: "):
        sendgrid_options(**changes)
