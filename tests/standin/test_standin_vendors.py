"""Each vendor holds its callers to the documented contract."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook as Signer
from standin_calls import (
    BASIC,
    EVENT,
    GA4,
    HIT,
    REGULATION,
    RUDDERSTACK,
    SEGMENT,
    VALID,
    WEBHOOK,
    Sent,
    Wire,
    envelope,
    webhook,
)

from consentry.standin.app import build_app

LONG = {"properties": {"text": "x" * (33 * 1024)}}
NO_IDS = {k: v for k, v in EVENT.items() if k not in ("userId", "anonymousId")}
BEARER = {"Authorization": "Bearer t"}
OLD, NEW = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def without(headers: Any, *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


REFUSED: dict[str, tuple[Sent, int]] = {
    "webhook: GET": (WEBHOOK.but(method="GET"), 405),
    "webhook: no id": (WEBHOOK.but(headers=without(WEBHOOK.headers, "webhook-id")), 401),
    "webhook: no time": (WEBHOOK.but(headers=without(WEBHOOK.headers, "webhook-timestamp")), 401),
    "webhook: unsigned": (WEBHOOK.but(headers=without(WEBHOOK.headers, "webhook-signature")), 401),
    "webhook: time is no number": (
        WEBHOOK.but(headers={**WEBHOOK.headers, "webhook-timestamp": "now"}),
        401,
    ),
    "webhook: signature has no version": (
        WEBHOOK.but(headers={**WEBHOOK.headers, "webhook-signature": "abc="}),
        401,
    ),
    "webhook: no JSON": (WEBHOOK.but(raw=b"{"), 400),
    "webhook: no type": (webhook({"timestamp": "2026-11-01T00:00:00Z", "data": {}}), 400),
    "webhook: no data": (webhook({"type": "a.b", "timestamp": "2026-11-01T00:00:00Z"}), 400),
    "webhook: local time": (webhook(envelope(timestamp="2026-11-01T00:00:00")), 400),
    "webhook: too large": (WEBHOOK.but(raw=b" " * (8 * 1024 * 1024 + 1)), 413),
    "segment: GET": (SEGMENT.but(method="GET"), 405),
    "segment: unknown path": (SEGMENT.but(path="/segment/v1/tracks"), 404),
    "segment: unknown root": (SEGMENT.but(path="/segment/v9"), 404),
    "segment: no key": (SEGMENT.but(headers={}), 401),
    "segment: bearer is no key": (SEGMENT.but(headers=BEARER), 401),
    "segment: basic is no base64": (SEGMENT.but(headers={"Authorization": "Basic ~~"}), 401),
    "segment: no JSON": (SEGMENT.but(raw=b"{"), 400),
    "segment: no batch": (SEGMENT.but(body={"events": []}), 400),
    "segment: event too large": (SEGMENT.but(body={"batch": [EVENT | LONG]}), 400),
    "segment: single too large": (
        SEGMENT.but(path="/segment/v1/track", body=EVENT | LONG),
        400,
    ),
    "segment: batch too large": (SEGMENT.but(body={"batch": [EVENT] * 4000}), 400),
    "segment: regulation without a token": (REGULATION.but(headers={}), 401),
    "segment: regulation with Basic": (REGULATION.but(headers={"Authorization": BASIC}), 401),
    "segment: regulation in XML": (
        REGULATION.but(headers={**REGULATION.headers, "Accept": "text/xml"}),
        406,
    ),
    "segment: regulation type": (
        REGULATION.but(body=REGULATION.body | {"regulationType": "FORGET"}),
        422,
    ),
    "segment: subject type": (
        REGULATION.but(body=REGULATION.body | {"subjectType": "ANONYMOUS_ID"}),
        422,
    ),
    "segment: no subjects": (REGULATION.but(body=REGULATION.body | {"subjectIds": []}), 422),
    "segment: too many subjects": (
        REGULATION.but(body=REGULATION.body | {"subjectIds": ["u"] * 5001}),
        422,
    ),
    "segment: unknown regulation": (
        REGULATION.but(method="GET", path="/segment/regulations/reg_9"),
        404,
    ),
    "rudderstack: GET": (RUDDERSTACK.but(method="GET"), 405),
    "rudderstack: unknown path": (RUDDERSTACK.but(path="/rudderstack/v1/b"), 404),
    "rudderstack: no key": (RUDDERSTACK.but(headers={}), 401),
    "rudderstack: key in the body only": (
        RUDDERSTACK.but(headers={}, body={"batch": [EVENT], "writeKey": "wk_1"}),
        401,
    ),
    "rudderstack: empty": (RUDDERSTACK.but(raw=b""), 400),
    "rudderstack: no JSON": (RUDDERSTACK.but(raw=b"{"), 400),
    "rudderstack: empty batch": (RUDDERSTACK.but(body={"batch": []}), 400),
    "rudderstack: nobody": (RUDDERSTACK.but(body={"batch": [EVENT, NO_IDS]}), 400),
    "rudderstack: event too large": (RUDDERSTACK.but(body={"batch": [EVENT | LONG]}), 413),
    "rudderstack: too large": (RUDDERSTACK.but(raw=b" " * (4_000 * 1024 + 1)), 413),
    "rudderstack: regulation without a token": (
        Sent("/rudderstack/v2/regulations", {"regulationType": "suppress"}),
        401,
    ),
    "rudderstack: regulation without users": (
        Sent("/rudderstack/v2/regulations", {"regulationType": "suppress"}, BEARER),
        400,
    ),
    "ga4: GET": (GA4.but(method="GET"), 405),
    "ga4: unknown path": (GA4.but(path="/ga4/collect"), 404),
    "ga4: deletion without a token": (
        Sent("/ga4/v1alpha/properties/1:submitUserDeletion", {"userId": "alice"}),
        401,
    ),
    "ga4: deletion of two": (
        Sent(
            "/ga4/v1alpha/properties/1:submitUserDeletion",
            {"userId": "alice", "clientId": "anon-1"},
            BEARER,
        ),
        400,
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
async def test_what_breaks_the_contract_is_refused(wire: Wire, name: str) -> None:
    sent, status = REFUSED[name]
    answer = await wire.send(sent)
    assert answer.status == status, answer.raw
    vendor = name.partition(":")[0]
    assert await wire.persons(vendor) == {}
    (entry,) = await wire.journal(vendor)
    assert entry["status"] == status


SILENT: dict[str, tuple[Sent, str]] = {
    "segment: nobody": (SEGMENT.but(body={"batch": [NO_IDS]}), "userId"),
    "segment: no event name": (SEGMENT.but(body={"batch": [EVENT | {"event": ""}]}), "event"),
    "segment: unknown type": (SEGMENT.but(body={"batch": [EVENT | {"type": "buy"}]}), "type"),
    "segment: long message id": (
        SEGMENT.but(body={"batch": [EVENT | {"messageId": "m" * 101}]}),
        "messageId",
    ),
    "segment: 2501 events": (SEGMENT.but(body={"batch": [{"type": "track"}] * 2501}), "2500"),
    "segment: group without groupId": (
        SEGMENT.but(path="/segment/v1/group", body={"userId": "alice"}),
        "groupId",
    ),
    "ga4: no secret": (GA4.but(path="/ga4/mp/collect?measurement_id=G-1"), "api_secret"),
    "ga4: both streams": (GA4.but(path=GA4.path + "&firebase_app_id=1:2"), "measurement_id"),
    "ga4: no JSON": (GA4.but(raw=b"{"), "JSON"),
    "ga4: no client": (GA4.but(body={"events": HIT["events"]}), "client_id"),
    "ga4: no events": (GA4.but(body={"client_id": "c"}), "events"),
    "ga4: 26 events": (GA4.but(body=HIT | {"events": HIT["events"] * 26}), "25"),
    "ga4: too large": (GA4.but(raw=b" " * (130 * 1024 + 1)), "large"),
}


@pytest.mark.parametrize("name", sorted(SILENT))
async def test_what_a_vendor_throws_away_in_silence(wire: Wire, name: str) -> None:
    sent, reason = SILENT[name]
    vendor = name.partition(":")[0]
    assert (await wire.send(sent)).status == {"segment": 200, "ga4": 204}[vendor]
    state = await wire.get(f"/_ctl/{vendor}/state")
    assert state["persons"] == {}
    assert reason in state["rejected"][0]["reason"]


@pytest.mark.parametrize("vendor", sorted(VALID))
async def test_a_repeated_message_changes_no_person_and_is_counted(wire: Wire, vendor: str) -> None:
    first = await wire.send(VALID[vendor])
    once = await wire.persons(vendor)
    again = await wire.send(VALID[vendor])
    assert (again.status, again.raw) == (first.status, first.raw)
    state = await wire.get(f"/_ctl/{vendor}/state")
    assert state["persons"] == once
    assert state["duplicates"] == 1
    assert len(await wire.journal(vendor)) == 2


async def test_a_hit_without_a_message_id_is_known_by_its_content(wire: Wire) -> None:
    bare = GA4.but(body=HIT | {"events": [{"name": "order_completed"}]})
    await wire.send(bare)
    await wire.send(bare)
    await wire.send(bare.but(body=bare.body | {"timestamp_micros": int(time.time() * 1e6)}))
    state = await wire.get("/_ctl/ga4/state")
    assert (state["persons"]["alice"]["eventCount"], state["duplicates"]) == (2, 1)


@pytest.mark.parametrize("base", ["/segment", "/segment/eu", "/rudderstack", "/rudderstack/eu"])
@pytest.mark.parametrize("kind", ["track", "identify", "page", "screen", "group", "alias"])
async def test_single_calls_take_their_type_from_the_path(wire: Wire, base: str, kind: str) -> None:
    body: dict[str, Any] = {"userId": "alice", "event": "E", "groupId": "g", "previousId": "p"}
    body |= {"traits": {"plan": "pro"}} if kind == "identify" else {}
    sent = Sent(f"{base}/v1/{kind}", body, {"Authorization": BASIC})
    assert (await wire.send(sent)).status == 200
    alice = (await wire.persons(base.split("/")[1]))["alice"]
    assert [event["type"] for event in alice["events"]] == [kind]
    assert alice["traits"] == ({"plan": "pro"} if kind == "identify" else {})


async def test_segment_takes_the_key_from_the_body_and_the_short_paths(wire: Wire) -> None:
    sent = SEGMENT.but(headers={}, path="/segment/v1/t", body=EVENT | {"writeKey": "wk_1"})
    assert (await wire.send(sent)).status == 200
    assert "alice" in await wire.persons("segment")


async def test_a_suppressed_person_receives_nothing_more(wire: Wire) -> None:
    await wire.send(SEGMENT)
    erase = REGULATION.body | {"regulationType": "SUPPRESS_WITH_DELETE"}
    await wire.send(REGULATION.but(body=erase))
    await wire.send(SEGMENT.but(body={"batch": [EVENT | {"messageId": "m-2"}]}))
    state = await wire.get("/_ctl/segment/state")
    alice = state["persons"]["alice"]
    assert (alice["suppressed"], alice["events"]) == (True, [])
    assert alice["erasedAt"] is not None
    assert "suppressed" in state["rejected"][0]["reason"]
    assert (await wire.journal("segment"))[1]["ids"]["userIds"] == ["alice"]


async def test_rudderstack_suppresses_by_user(wire: Wire) -> None:
    body = {"regulationType": "suppress", "users": [{"userId": "alice"}]}
    made = (await wire.send(Sent("/rudderstack/v2/regulations", body, BEARER))).json()
    listed = await wire.send(Sent("/rudderstack/v2/regulations", None, BEARER, method="GET"))
    assert listed.json()["data"] == made
    assert made[0]["attributes"]["userId"] == "alice"
    await wire.send(RUDDERSTACK)
    assert (await wire.persons("rudderstack"))["alice"]["eventCount"] == 0
    path = f"/rudderstack/v2/regulations/{made[0]['id']}"
    assert (await wire.send(Sent(path, None, BEARER, method="DELETE"))).status == 204
    assert (await wire.persons("rudderstack"))["alice"]["suppressed"] is False


async def test_ga4_keeps_consent_and_forgets_on_deletion(wire: Wire) -> None:
    await wire.send(GA4.but(body=HIT | {"user_properties": {"plan": {"value": "pro"}}}))
    alice = (await wire.persons("ga4"))["alice"]
    assert (alice["consent"], alice["traits"]) == (HIT["consent"], {"plan": "pro"})
    deletion = Sent("/ga4/v1alpha/properties/12:submitUserDeletion", {"userId": "alice"}, BEARER)
    assert "deletionRequestTime" in (await wire.send(deletion)).json()
    assert (await wire.persons("ga4"))["alice"]["events"] == []


def hit(**changes: Any) -> dict[str, Any]:
    return {**HIT, **changes}


def event(name: str = "e", params: Any = None, **others: Any) -> dict[str, Any]:
    return hit(events=[{"name": name, "params": (params or {}) | others}])


FOUR_DAYS_AGO = int((datetime.now(UTC) - timedelta(days=4)).timestamp() * 1e6)
VALIDATED: list[tuple[dict[str, Any], str | None, str | None]] = [
    (HIT, None, None),
    (event(items=[{"item_id": "1"}], page_location="x" * 900), None, None),
    (hit(events=[{"name": "_bad"}]), "events[0]", "NAME_INVALID"),
    (event("n" * 41), "events[0]", "NAME_INVALID"),
    (event("session_start"), "events[0]", "NAME_RESERVED"),
    (event("ga_thing"), "events[0]", "NAME_RESERVED"),
    (event(thing=None), "events[0].params.thing", "VALUE_INVALID"),
    (event(thing={"a": 1}), "events[0].params.thing", "VALUE_INVALID"),
    (event(thing=[1]), "events[0].params.thing", "VALUE_INVALID"),
    (event(thing="x" * 101), "events[0].params.thing", "VALUE_OUT_OF_BOUNDS"),
    (event(params={"9x": 1}), "events[0].params.9x", "NAME_INVALID"),
    (event(params={f"p{n}": n for n in range(26)}), "events[0].params", "EXCEEDED_MAX_ENTITIES"),
    (hit(events=["e"]), "events[0]", "VALUE_INVALID"),
    (hit(consent={"ad_user_data": "granted"}), "consent.ad_user_data", "VALUE_INVALID"),
    (hit(consent={"analytics": "DENIED"}), "consent.analytics", "VALUE_INVALID"),
    (hit(timestamp_micros=FOUR_DAYS_AGO), "timestamp_micros", "VALUE_OUT_OF_BOUNDS"),
    (hit(timestamp_micros="soon"), "timestamp_micros", "VALUE_INVALID"),
    (hit(user_properties={"plan": "pro"}), "user_properties.plan", "VALUE_INVALID"),
    (hit(user_id=7), "user_id", "VALUE_INVALID"),
]


@pytest.mark.parametrize(("body", "where", "code"), VALIDATED)
async def test_the_validator_says_what_collect_does_not(
    wire: Wire, body: dict[str, Any], where: str | None, code: str | None
) -> None:
    debug = GA4.but(path=GA4.path.replace("/mp/", "/debug/mp/"), body=body)
    said = (await wire.send(debug)).json()["validationMessages"]
    found = [(message["fieldPath"], message["validationCode"]) for message in said]
    assert found == ([(where, code)] if code else [])
    assert await wire.persons("ga4") == {}, "validating takes nothing over"
    assert (await wire.send(GA4.but(body=body))).status == 204
    assert bool(await wire.persons("ga4")) is (code is None)


CONSENT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("consent.granted", {"categories": ["ads"]}, {"ads": "granted"}),
    ("consent.withdrawn", {"categories": [{"id": "ads"}]}, {"ads": "withdrawn"}),
    ("consent.expired", {"category": "ads"}, {"ads": "expired"}),
    ("consent.withdrawn", {"preferences": {"ads": False}}, {"ads": False}),
    ("consent.withdrawn", {}, {"*": "withdrawn"}),
    (
        "consent.withdrawn",
        {"topics": [{"topic": "news", "channel": "email"}]},
        {"news:email": "withdrawn"},
    ),
]


@pytest.mark.parametrize("subject", [{"userId": "alice"}, {"anonymousId": "alice"}])
@pytest.mark.parametrize(("kind", "data", "consent"), CONSENT)
async def test_consent_webhooks_move_the_persons_consent(
    wire: Wire, subject: dict[str, str], kind: str, data: dict[str, Any], consent: dict[str, Any]
) -> None:
    await wire.send(webhook(envelope(kind, {"subject": subject} | data)))
    assert (await wire.persons("webhook"))["alice"]["consent"] == consent
    (entry,) = await wire.journal("webhook")
    assert [each for ids in entry["ids"].values() for each in ids] == ["msg-1", "alice"]


async def test_an_erasure_forgets_the_account_and_its_devices(wire: Wire) -> None:
    await wire.send(WEBHOOK)
    device = {k: v for k, v in EVENT.items() if k != "userId"} | {"messageId": "m-2"}
    await wire.send(webhook(envelope(data={"event": device}), webhook_id="msg-2"))
    subject = {"userId": "alice", "anonymousIds": ["anon-1"]}
    sent = webhook(envelope("subject.erase", {"subject": subject}), webhook_id="msg-3")
    await wire.send(sent)
    persons = await wire.persons("webhook")
    assert {key: person["events"] for key, person in persons.items()} == {"alice": [], "anon-1": []}


async def test_an_event_resent_under_a_new_webhook_id_is_kept_once(wire: Wire) -> None:
    await wire.send(webhook(webhook_id="msg-1"))
    await wire.send(webhook(webhook_id="msg-2"))
    state = await wire.get("/_ctl/webhook/state")
    assert (state["persons"]["alice"]["eventCount"], state["duplicates"]) == (1, 1)


def signed(signature: str, body: bytes, at: datetime) -> Sent:
    stamp = str(int(at.timestamp()))
    headers = {"webhook-id": "m", "webhook-timestamp": stamp, "webhook-signature": signature}
    return Sent("/webhook", raw=body, headers=headers)


async def test_a_webhook_with_secrets_verifies_what_the_reference_library_signs() -> None:
    private = Ed25519PrivateKey.generate()
    raw_key = private.public_key().public_bytes(
        serialization.Encoding.Raw, serialization.PublicFormat.Raw
    )
    public = "whpk_" + base64.b64encode(raw_key).decode()
    now = datetime.now(UTC)
    old = now - timedelta(minutes=6)
    body = json.dumps(envelope()).encode()
    stranger = "whsec_" + base64.b64encode(b"s" * 32).decode()

    def sign(secret: str, at: datetime = now) -> str:
        return Signer(secret).sign("m", at, body.decode())

    to_sign = f"m.{int(now.timestamp())}.".encode() + body
    asymmetric = "v1a," + base64.b64encode(private.sign(to_sign)).decode()
    cases = [
        (signed(sign(NEW), body, now), 200),
        (signed(sign(OLD), body, now), 200),
        (signed(f"{sign(stranger)} {sign(OLD)}", body, now), 200),
        (signed(asymmetric, body, now), 200),
        (signed(sign(stranger), body, now), 401),
        (signed(sign(NEW), body + b" ", now), 401),
        (signed(sign(NEW, old), body, old), 401),
        (signed(asymmetric.replace("v1a,", "v1,"), body, now), 401),
        (signed("v1a," + sign(NEW).removeprefix("v1,"), body, now), 401),
    ]
    app = build_app(webhook_secrets=(OLD, NEW, public))
    async with TestServer(app, host="127.0.0.1") as server, ClientSession() as session:
        assert server.port is not None
        wire = Wire(session, "127.0.0.1", server.port)
        assert [(await wire.send(sent)).status for sent, _ in cases] == [want for _, want in cases]


@pytest.mark.parametrize("secret", ["hunter2hunter2", "whsec_c2hvcnQ=", "whsec_~", "whpk_QUJD"])
def test_a_bad_secret_is_refused_without_being_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"webhook_secrets\[0\]") as refusal:
        build_app(webhook_secrets=(secret,))
    assert secret not in str(refusal.value)
