"""Whatever a vendor answers, or tells us with a valid signature, it is read or refused."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core import moment
from consentry.core.delivery import Grade
from consentry.destinations import (
    braze_orders,
    customerio,
    hubspot_orders,
    klaviyo_orders,
    klaviyo_readings,
    mailchimp_orders,
    sendgrid_orders,
)
from consentry.destinations.instruction import Found, Heard, InboundCall, Instruction, Unproven
from consentry.destinations.klaviyo_orders import Known
from consentry.destinations.klaviyo_wire import is_suppressed, profiles_in
from consentry.destinations.message import Response
from consentry.destinations.obeying import Part
from tests.destinations.crm import VENDORS, event, sendgrid_options

# The words that answers are read by, so that what is made up gets past the first look.
WORDS = [
    *("message", "errors", "status", "results", "numErrors", "deleted", "users", "interests"),
    *("data", "attributes", "subscriptions", "email", "marketing", "suppression", "reason"),
    *("subscriptionId", "title", "recipient_emails", "result", "contact", "id", "job_id"),
    *("events", "event_type", "topic", "payload", "included", "type", "properties", "user"),
    *("object_type", "metric", "identifiers", "content", "topics", "event", "timestamp", "time"),
    *("hs_email_optout", "alice@example.com", "I1", "external_user_id", "topic_7", "input_array"),
]
VALUES = [
    *("success", "unsubscribed", "UNSUBSCRIBED", "Unsubscribed", "profile", "true", "customer"),
    *("users.behaviors.subscription.GlobalStateChange", "unsubscribe", "alice@example.com"),
    *("event:klaviyo.unsubscribed_from_email_marketing", "alice", "a\nb", "group_unsubscribe"),
]
LEAVES = (
    st.none() | st.booleans() | st.integers(-5, 10**14) | st.floats(allow_nan=False)
    | st.sampled_from(VALUES)
)  # fmt: skip
DOCUMENTS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=12,
)
BODIES = DOCUMENTS.map(lambda document: json.dumps(document).encode()) | st.binary(max_size=20)
STATUSES = st.sampled_from([200, 201, 202, 204, 207, 299, 302, 400, 401, 404, 409, 429, 500, 503])
PROOF = {Grade.CONFIRMED, Grade.JOB_DONE, Grade.ACCEPTED, Grade.SENT_UNVERIFIABLE}

FEW = max(25, settings().max_examples // 3)  # times some forty orders

PARTS: dict[str, Callable[[Instruction, Any], Any]] = {
    "braze": lambda asked, options: braze_orders.order_parts([asked], options),
    "hubspot": lambda asked, options: hubspot_orders.order_parts([asked], options),
    "klaviyo": lambda asked, options: klaviyo_orders.order_parts([asked], options, Known()),
    "mailchimp": lambda asked, options: mailchimp_orders.order_parts([asked], options),
    "sendgrid": lambda asked, options: sendgrid_orders.order_parts([asked], options),
    "customerio": lambda asked, options: customerio.order_parts([asked], options),
}
QUESTIONS: dict[str, Callable[[Instruction, Any], Any]] = {
    "braze": braze_orders.questions_for,
    "hubspot": hubspot_orders.questions_for,
    "klaviyo": klaviyo_readings.questions_for,
    "mailchimp": mailchimp_orders.questions_for,
    "sendgrid": sendgrid_orders.questions_for,
}
ORDERS = [
    (name, what)
    for name, vendor in VENDORS.items()
    for what, case in vendor.cases.items()
    if case.asked is not None
]


def asked_of(name: str, what: str) -> tuple[Instruction, Any]:
    case = VENDORS[name].cases[what]
    assert case.asked is not None
    return case.asked, VENDORS[name].options(**case.options)


@pytest.mark.parametrize(("name", "what"), ORDERS)
@settings(max_examples=FEW)
@given(status=STATUSES, body=BODIES)
def test_whatever_is_answered_has_a_grade(name: str, what: str, status: int, body: bytes) -> None:
    response = Response(status, {}, body)
    for part in PARTS[name](*asked_of(name, what)):
        if not isinstance(part, Part):
            continue
        while (following := part.then(response)) is not None and following is not part:
            part = following
            if part.then(response) is not None:
                break
        outcome = part.reads(response)
        assert outcome.detail.isprintable(), "what a vendor wrote came into the detail"
        assert outcome.grade not in PROOF or 200 <= status <= 299


@pytest.mark.parametrize(("name", "what"), [pair for pair in ORDERS if pair[0] in QUESTIONS])
@settings(max_examples=FEW)
@given(status=STATUSES, body=BODIES)
def test_whatever_is_read_back_is_a_reading(name: str, what: str, status: int, body: bytes) -> None:
    for question in QUESTIONS[name](*asked_of(name, what)):
        reading = question.reads(Response(status, {}, body))
        assert reading.detail.isprintable()
        if status not in (200, 201, 404):
            assert reading.found is Found.UNKNOWN


# What a search seldom finds: values that stand where others are looked up.
ODD = [
    {"message": "success", "errors": [{"input_array": ["events"], "index": {}}]},
    {"results": [{"subscriptionId": [1], "status": {}}]},
    {"status": "subscribed", "interests": ["I1"]},
    {"data": [{"attributes": {"subscriptions": {"email": {"marketing": {"suppression": [
        {"reason": ["SPAM_REPORT"]}]}}}}}]},
    {"status": {"alice": ["Subscribed"]}},
    {"users": [{"email_subscribe": [], "push_subscribe": {}}]},
    {"result": {"alice@example.com": {"contact": {"id": 7}}}},
    {"recipient_emails": [{}, 1, None]},
]  # fmt: skip


@pytest.mark.parametrize("document", ODD, ids=range(len(ODD)))
@pytest.mark.parametrize(("name", "what"), ORDERS)
def test_odd_values_are_read_too(name: str, what: str, document: Any) -> None:
    raw = json.dumps(document).encode()
    asked, options = asked_of(name, what)
    for status in (200, 201, 207):
        response = Response(status, {}, raw)
        for part in PARTS[name](asked, options):
            if isinstance(part, Part):
                part.then(response)
                part.reads(response)
        for question in QUESTIONS.get(name, lambda *_: [])(asked, options):
            question.reads(response)
        profiles_in(document)
        if VENDORS[name].module.SPEC.events:
            outcomes = VENDORS[name].module.outcomes_of(response, [event()])
            assert len(outcomes) == 1
    for profile in profiles_in(document) or []:
        assert is_suppressed(profile) is True, "a reason that cannot be read may be an opt-out"


# What is told with a valid signature

STAMP = "1795341600"
NOW = moment.SECOND * 1_795_341_600
PRIVATE = ec.generate_private_key(ec.SECP256R1())
PUBLIC = b64encode(
    PRIVATE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def mac(secret: str, signed: bytes) -> bytes:
    return hmac.new(secret.encode(), signed, hashlib.sha256).digest()


def signed_headers(name: str, body: bytes) -> dict[str, str]:
    if name == "braze":
        return {"authorization": "Bearer currents-token"}
    if name == "klaviyo":
        given = mac("klaviyo-webhook-secret", body + STAMP.encode()).hex()
        return {"klaviyo-signature": given, "klaviyo-timestamp": STAMP}
    if name == "hubspot":
        source = (
            b"POSThttps://us.example/in?secret=mailchimp-secret" + body + STAMP.encode() + b"000"
        )
        given = b64encode(mac("hubspot-client-secret", source)).decode()
        return {"x-hubspot-signature-v3": given, "x-hubspot-request-timestamp": STAMP + "000"}
    if name == "customerio":
        given = mac("cio-signing-key", f"v0:{STAMP}:".encode() + body).hex()
        return {"x-cio-signature": given, "x-cio-timestamp": STAMP}
    if name == "sendgrid":
        given = b64encode(PRIVATE.sign(STAMP.encode() + body, ec.ECDSA(SHA256()))).decode()
        prefix = "x-twilio-email-event-webhook-"
        return {f"{prefix}signature": given, f"{prefix}timestamp": STAMP}
    return {}


@pytest.mark.parametrize("name", VENDORS)
@given(body=BODIES)
def test_whatever_is_told_is_heard_or_refused(name: str, body: bytes) -> None:
    more = {"verification_key": (PUBLIC,)} if name == "sendgrid" else {}
    options = sendgrid_options(**more) if more else VENDORS[name].options()
    url = "https://us.example/in?secret=mailchimp-secret"
    call = InboundCall("POST", url, signed_headers(name, body), body, NOW)
    found: tuple[Heard, ...] = ()
    said = ""
    try:
        found = VENDORS[name].module.hear(call, options)
    except Unproven as refused:
        said = str(refused)
    assert "signature" not in said, "it was signed as it should be"
    for heard in found:
        assert isinstance(heard, Heard)
        assert heard.node.value
        assert heard.said.isprintable()
