"""Each HTTP destination: what it sends, what it makes of the answer, and both on a wire."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from consentry.core.delivery import Grade
from consentry.destinations import ga4, rudderstack, segment, webhook
from consentry.destinations.http import Unsendable
from consentry.destinations.message import LastLookRefused, Message, Response
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret

from .test_ga4_requests import ga4_options
from .wire_server import answer, message, serving

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
KEY = "whsec_" + base64.b64encode(b"k" * 32).decode()
NEXT_KEY = "whsec_" + base64.b64encode(b"n" * 24).decode()


def webhook_options(url: str = "https://hooks.example/in", *keys: str) -> webhook.Options:
    return webhook.Options(url=url, secret=tuple(map(Secret, keys or (KEY,))))


def segment_options(base_url: str = "https://api.segment.io") -> segment.Options:
    return segment.Options(write_key=(Secret("wk"), Secret("old")), base_url=base_url)


def rudderstack_options(base_url: str = "https://data.example") -> rudderstack.Options:
    return rudderstack.Options(write_key=(Secret("wk"),), base_url=base_url)


DESTINATIONS: dict[str, tuple[ModuleType, Callable[[str], Any]]] = {
    "webhook": (webhook, webhook_options),
    "ga4": (ga4, ga4_options),
    "segment": (segment, segment_options),
    "rudderstack": (rudderstack, rudderstack_options),
}

# What the answers mean


@dataclass(frozen=True)
class Case:
    """An answer, and what each kind makes of it; ``usual`` is for the kinds not named."""

    status: int
    usual: Grade
    body: bytes = b""
    retry_after: str | None = None
    pause: bool = False
    special: tuple[tuple[str, Grade], ...] = ()
    pausing: tuple[str, ...] = ()


UNVERIFIABLE = (("ga4", Grade.SENT_UNVERIFIABLE),)
CASES = {
    "accepted": Case(200, Grade.ACCEPTED, b'{"success":true}', special=UNVERIFIABLE),
    "accepted without a body": Case(204, Grade.ACCEPTED, special=UNVERIFIABLE),
    "receipt applied": Case(
        200,
        Grade.ACCEPTED,
        b'{"status":"applied","ref":"r","applied_at":"2026-11-22T10:00:00Z"}',
        special=(*UNVERIFIABLE, ("webhook", Grade.CONFIRMED)),
    ),
    "receipt accepted": Case(200, Grade.ACCEPTED, b'{"status":"accepted"}', special=UNVERIFIABLE),
    "receipt noop": Case(
        200,
        Grade.ACCEPTED,
        b'{"status":"noop"}',
        special=(*UNVERIFIABLE, ("webhook", Grade.NOOP)),
    ),
    "another status word": Case(200, Grade.ACCEPTED, b'{"status":"fine"}', special=UNVERIFIABLE),
    "status is no text": Case(200, Grade.ACCEPTED, b'{"status":[1]}', special=UNVERIFIABLE),
    "garbage": Case(200, Grade.ACCEPTED, b"\xff\xfe<html>", special=UNVERIFIABLE),
    "busy": Case(429, Grade.RATE_LIMITED, retry_after="7"),
    "busy without a wish": Case(503, Grade.FAILED_RETRY),
    "busy with a wish": Case(503, Grade.RATE_LIMITED, retry_after="7"),
    "broken": Case(500, Grade.FAILED_RETRY, b'{"status":"applied"}'),
    "key unknown": Case(401, Grade.AUTH_BLOCKED, pause=True),
    "key forbidden": Case(403, Grade.AUTH_BLOCKED, pause=True),
    "refused": Case(400, Grade.FAILED_FINAL, b'{"code":"invalid"}'),
    "redirect": Case(302, Grade.FAILED_FINAL),
    "gone": Case(
        410,
        Grade.FAILED_FINAL,
        special=(("segment", Grade.FAILED_RETRY), ("rudderstack", Grade.FAILED_RETRY)),
        pausing=("webhook",),
    ),
}


@pytest.mark.parametrize("kind", DESTINATIONS)
@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_answer(kind: str, case: Case) -> None:
    module, _ = DESTINATIONS[kind]
    headers = {} if case.retry_after is None else {"retry-after": case.retry_after}
    messages = [message()] * min(3, module.SPEC.batch_max)

    outcomes = module.outcomes_of(Response(case.status, headers, case.body), messages)

    assert len(outcomes) == len(messages)
    for outcome in outcomes:
        assert outcome.grade is dict(case.special).get(kind, case.usual)
        assert outcome.status == case.status
        assert outcome.pause == (case.pause or kind in case.pausing)
        assert outcome.retry_after_s == (None if case.retry_after is None else 7)


# On a wire


def recent(**changes: Any) -> Message:
    """A message young enough for every destination, by the real clock."""
    stamp = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return message(timestamp=stamp, **changes)


@pytest.mark.parametrize("kind", DESTINATIONS)
async def test_send(kind: str) -> None:
    module, options = DESTINATIONS[kind]
    client = OutboundClient(allow_private=True)
    async with serving(answer(200, b"{}")) as server:
        attempted = await module.send(client, [recent()], options(server.url), None)
        assert len(server.requests) == 1
    await client.close()

    (outcome,) = attempted.outcomes
    assert outcome.grade is (Grade.SENT_UNVERIFIABLE if kind == "ga4" else Grade.ACCEPTED)
    assert attempted.request_digest
    assert attempted.response_digest


@pytest.mark.parametrize("kind", DESTINATIONS)
async def test_send_after_a_withdrawal_sends_nothing(kind: str) -> None:
    def refuse() -> None:
        raise LastLookRefused

    module, options = DESTINATIONS[kind]
    client = OutboundClient(allow_private=True)
    async with serving(answer(200)) as server:
        with pytest.raises(LastLookRefused):
            await module.send(client, [recent()], options(server.url), refuse)
        await server.all_ended()
        assert server.received == b""
    await client.close()


@pytest.mark.parametrize("kind", DESTINATIONS)
async def test_an_event_that_is_no_utf8_ends_without_a_request(kind: str) -> None:
    module, options = DESTINATIONS[kind]
    client = OutboundClient(allow_private=True)
    body = {"properties": {"title": "\ud800"}}
    async with serving(answer(200)) as server:
        attempted = await module.send(client, [recent(body=body)], options(server.url), None)
        assert server.connections == 0
    await client.close()
    assert attempted.outcomes[0].grade is Grade.FAILED_FINAL
    assert attempted.request_digest is None


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_nothing_shown_holds_a_secret(kind: str) -> None:
    module, make = DESTINATIONS[kind]
    options = make("https://host.example/path-token")
    request = module.request_for([message()], options, NOW)
    shown = repr(options) + repr(request) + str(options)
    for secret in ("s&cret", "s%26cret", "wk", KEY):
        assert secret not in shown
    if kind == "webhook":
        assert "path-token" not in shown


# Webhook


@pytest.mark.parametrize("keys", [(KEY,), (NEXT_KEY, KEY), (KEY, NEXT_KEY)], ids=len)
def test_webhook_is_verified_by_the_reference_library(keys: tuple[str, ...]) -> None:
    now = datetime.now(UTC)
    request = webhook.request_for([message()], webhook_options("https://h.example/", *keys), now)

    for key in keys:
        event = Webhook(key).verify(request.body, dict(request.headers))
        assert event["type"] == "event.forwarded"
        assert event["timestamp"] == "2026-11-22T10:00:00.000Z"
        assert event["data"] == message().body
    headers = dict(request.headers)
    assert headers["webhook-id"] == "m-1"
    assert headers["webhook-timestamp"] == str(int(now.timestamp()))
    with pytest.raises(WebhookVerificationError):
        Webhook(b"another key").verify(request.body, headers)


def test_webhook_signs_with_plain_text() -> None:
    options = webhook_options("https://h.example/", "pl\u00e4in")
    request = webhook.request_for([message()], options, datetime.now(UTC))
    Webhook("pl\u00e4in".encode()).verify(request.body, dict(request.headers))


def test_webhook_names_a_choice() -> None:
    choice = message(body={"event": "Segment Consent Preference Updated"})
    request = webhook.request_for([choice], webhook_options(), NOW)
    assert json.loads(request.body)["type"] == "consent.updated"


@pytest.mark.parametrize(
    "identity", ["a\r\nX-Evil: 1", "caf\u00e9", "", "a b", "\ud800", "x" * 300]
)
def test_webhook_id_fits_a_header_and_is_the_same_again(identity: str) -> None:
    first = webhook.webhook_id(identity)
    assert first.startswith("sha256:")
    assert len(first) == 71
    assert webhook.webhook_id(identity) == first


def test_webhook_ids_of_the_sdks_stay_as_they_are() -> None:
    for identity in ("ajs-next-1700-ab", "node-next-1.2", "6f1c-uuid"):
        assert webhook.webhook_id(identity) == identity


# Segment and RudderStack


@pytest.mark.parametrize("kind", ["segment", "rudderstack"])
def test_batch_is_what_the_tracking_api_takes(kind: str) -> None:
    module, options = DESTINATIONS[kind]
    request = module.request_for(
        [message(), message(body={"messageId": "m-2"})], options("https://in.example/"), NOW
    )

    assert request.url == "https://in.example/v1/batch"
    assert dict(request.headers)["Authorization"] == "Basic " + base64.b64encode(b"wk:").decode()
    document = json.loads(request.body)
    assert list(document) == ["batch"]
    first, second = document["batch"]
    assert (first["messageId"], second["messageId"]) == ("m-1", "m-2")
    assert first["timestamp"] == "2026-11-22T10:00:00.000Z"
    assert first["context"]["page"] == {"url": "https://shop.example/film"}
    assert not {"sentAt", "receivedAt", "originalTimestamp"} & set(first)


CONSENT: dict[str, tuple[object, dict[str, bool], dict[str, bool]]] = {
    "none captured": (None, {"a": True, "b": False}, {"a": True, "b": False}),
    "withdrawn since": ({"a": True}, {"a": False}, {"a": False}),
    "granted since": ({"a": False}, {"a": True}, {"a": False}),
    "still granted": ({"a": True}, {"a": True}, {"a": True}),
    "not known to us": ({"x": True}, {}, {"x": False}),
    "captured as text": ({"a": "true"}, {"a": True}, {"a": False}),
    "captured is no object": ([], {"a": True}, {"a": True}),
}


@pytest.mark.parametrize(("captured", "effective", "sent"), CONSENT.values(), ids=list(CONSENT))
def test_batch_never_widens_consent(
    captured: object, effective: dict[str, bool], sent: dict[str, bool]
) -> None:
    context = {"consent": {"categoryPreferences": captured, "other": 1}} if captured else {}
    event = message(body={"context": context}, consent=effective)
    request = segment.request_for([event], segment_options(), NOW)
    (item,) = json.loads(request.body)["batch"]
    assert item["context"]["consent"]["categoryPreferences"] == sent
    assert event.body["context"] == context  # the message itself is untouched


def test_batch_limits() -> None:
    with pytest.raises(ValueError, match="1 to 100"):
        segment.request_for([], segment_options(), NOW)
    with pytest.raises(ValueError, match="1 to 100"):
        segment.request_for([message()] * 101, segment_options(), NOW)
    large = message(body={"properties": {"text": "x" * 450_000}})
    with pytest.raises(Unsendable, match="450000 bytes"):
        segment.request_for([large], segment_options(), NOW)


# Options

REFUSED_OPTIONS: list[tuple[type[msgspec.Struct], dict[str, Any], str]] = [
    (webhook.Options, {"url": "example", "secret": ["x"]}, "URL"),
    (webhook.Options, {"url": "https://u:p@h.example/", "secret": ["x"]}, "password"),
    (webhook.Options, {"url": "https://h.example/", "secret": []}, "one or two"),
    (webhook.Options, {"url": "https://h.example/", "secret": ["x"] * 3}, "one or two"),
    (webhook.Options, {"url": "https://h.example/", "secret": [""]}, "empty"),
    (webhook.Options, {"url": "https://h.example/", "secret": ["whsec_eA=="]}, "24 to 64"),
    (webhook.Options, {"url": "https://h.example/", "secret": ["whsec_??"]}, "24 to 64"),
    (webhook.Options, {"url": "https://h.example/", "secret": ["x"], "timeout_s": 0}, "timeout_s"),
    (webhook.Options, {"url": "https://h.example/", "secret": ["x"], "timeout_s": 31}, "timeout_s"),
    (webhook.Options, {"url": "https://h.example/", "secret": ["x"], "retries": 3}, "retries"),
    (webhook.Options, {"secret": ["x"]}, "url"),
    (segment.Options, {"write_key": []}, "write_key"),
    (segment.Options, {"write_key": [""]}, "write_key"),
    (segment.Options, {"write_key": ["x"], "base_url": "ftp://h.example"}, "URL"),
    (segment.Options, {"write_key": ["x"], "base_url": "https://h.example/?a"}, "query"),
    (rudderstack.Options, {"write_key": ["x"]}, "base_url"),
    (ga4.Options, {"api_secret": ["x"]}, "exactly one"),
    (ga4.Options, {"api_secret": ["x"], "measurement_id": "G", "firebase_app_id": "1"}, "exactly"),
    (ga4.Options, {"api_secret": [], "measurement_id": "G"}, "api_secret"),
    (ga4.Options, {"api_secret": ["x"], "measurement_id": "G", "base_url": "x"}, "URL"),
]


def secret_hook(kind: type, value: object) -> object:
    assert kind is Secret
    return Secret(str(value))


@pytest.mark.parametrize(("options", "values", "says"), REFUSED_OPTIONS)
def test_options_are_refused_by_name(
    options: type[msgspec.Struct], values: dict[str, Any], says: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=says):
        msgspec.convert(values, options, dec_hook=secret_hook)


@pytest.mark.parametrize(("module", "make"), DESTINATIONS.values(), ids=list(DESTINATIONS))
def test_spec_tells_its_kind(module: ModuleType, make: Callable[[str], Any]) -> None:
    assert module.SPEC.kind == module.__name__.rpartition(".")[2]
    assert module.SPEC.batch_max >= 1
    assert make("https://host.example")
