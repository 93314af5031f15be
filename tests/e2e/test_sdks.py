"""The vendors' server-side SDKs, unmodified, against a real server.

What arrives is compared with what the decisions allow, event by event.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from segment.analytics.client import Client

from tests.e2e.sdk_calls import (
    APART,
    CASES,
    EVERY_TYPE,
    NO,
    STATISTICS,
    UPDATE,
    YES,
    calls,
    expected,
    rudder_form,
)
from tests.e2e.sdk_proxy import Fault
from tests.e2e.sdk_world import (
    ANALYTICS,
    BOTH,
    NOTHING,
    SLOW_SECRETS,
    World,
    run_node,
    waiting,
    world,
)
from tests.running import BACKEND_KEY

Send = Callable[..., Any]
MEMBERS = {
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "previousId": "previous_id",
    "groupId": "group_id",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("sdks")) as running:
        yield running


@pytest.fixture
def here(shared: World) -> World:
    shared.reset()
    return shared


def python_sdk(host: str, messages: list[dict[str, Any]], **options: Any) -> list[Any]:
    """Calls of segment-analytics-python; the errors that it reported."""
    errors: list[Any] = []
    settings = {"write_key": BACKEND_KEY, "upload_interval": 0.1, **options}
    client = Client(host=host, on_error=lambda error, batch: errors.append(error), **settings)
    for message in messages:
        named = {MEMBERS.get(k, k): v for k, v in message.items() if k != "type"}
        getattr(client, message["type"])(**named)
    if not client.sync_mode:
        client.shutdown()
    return errors


def node_sdk(host: str, messages: list[dict[str, Any]], **options: Any) -> list[Any]:
    """Calls of @segment/analytics-node; the errors that it reported."""
    return _by_node("segment_node.mjs", host, messages, options)


def rudder_sdk(host: str, messages: list[dict[str, Any]], **options: Any) -> list[Any]:
    """Calls of @rudderstack/rudder-sdk-node; the errors that it reported."""
    return _by_node("rudder_node.mjs", host, messages, options)


def _by_node(
    script: str, host: str, messages: list[dict[str, Any]], options: dict[str, Any]
) -> list[Any]:
    key = options.pop("write_key", BACKEND_KEY)
    told = {"host": host, "writeKey": key, "calls": messages, "options": options}
    errors: list[Any] = run_node(script, told)["errors"]
    return errors


SDKS = [
    pytest.param(python_sdk, {}, id="python-queued"),
    pytest.param(python_sdk, {"gzip": True}, id="python-queued-gzip"),
    pytest.param(python_sdk, {"upload_size": 4}, id="python-batches-of-4"),
    pytest.param(python_sdk, {"sync_mode": True}, id="python-sync"),
    pytest.param(python_sdk, {"sync_mode": True, "gzip": True}, id="python-sync-gzip"),
    pytest.param(node_sdk, {}, id="node", marks=pytest.mark.node),
    # RudderStack's SDK sends its batches side by side, and the choices want their order.
    pytest.param(rudder_sdk, {"flushAt": 50}, id="rudder", marks=pytest.mark.node),
    pytest.param(
        rudder_sdk, {"flushAt": 50, "gzip": False}, id="rudder-plain", marks=pytest.mark.node
    ),
]
EACH = [
    pytest.param(python_sdk, {"timeout": 1}, id="python"),
    pytest.param(node_sdk, {"httpRequestTimeout": 1000}, id="node", marks=pytest.mark.node),
    pytest.param(rudder_sdk, {"timeout": 1000}, id="rudder", marks=pytest.mark.node),
]
# RudderStack's SDK does not try again after a timeout: test_what_an_sdk_gave_up_on below.
RETRIES = [
    pytest.param(*sdk.values, fault, id=f"{sdk.id}-{fault.name.lower()}", marks=sdk.marks)
    for sdk in EACH
    for fault in Fault
    if (sdk.id, fault) != ("rudder", Fault.HELD_ANSWER)
]
NOBODY = "nobody-0123456789-0123456789-0123456789"


def person() -> str:
    """Somebody whom no other test knows."""
    return f"p{uuid.uuid4().hex[:12]}"


@pytest.mark.parametrize(("send", "options"), SDKS)
def test_what_arrives_is_what_was_allowed(here: World, send: Send, options: Any) -> None:
    somebody = person()
    assert send(here.proxy.base, calls(CASES, somebody), **options) == []
    assert {e.status for e in here.proxy.posts} == {200}
    here.check(expected(CASES))
    choices = [r for r in here.history(f"user_id:{somebody}-chooser") if r["type"] == "choice"]
    assert [r["after"] for r in choices] == [{"analytics": "granted", "advertising": "denied"}]


@pytest.mark.node
def test_requests_side_by_side(here: World) -> None:
    """Every event in a request of its own, all of them at once."""
    assert node_sdk(here.proxy.base, calls(APART, person()), flushAt=1) == []
    assert len(here.proxy.posts) == len(APART)
    here.check(expected(APART))


@pytest.mark.parametrize(("send", "options", "fault"), RETRIES)
def test_a_retry_delivers_once(here: World, send: Send, options: Any, fault: Fault) -> None:
    here.proxy.fail(fault)
    # One request, so that the fault meets all of it and the order on the wire is known.
    messages = calls(EVERY_TYPE[-1:], person())
    assert send(here.proxy.base, messages, **options) == []
    first, second = here.proxy.posts
    assert first.status == (503 if fault is Fault.UNAVAILABLE else None)
    assert second.status == 200
    ids = [[m["messageId"] for m in e.messages] for e in (first, second)]
    assert ids[0] == ids[1]
    here.check(expected(EVERY_TYPE[-1:]))


@pytest.mark.node
def test_what_an_sdk_gave_up_on_was_taken_once(here: World) -> None:
    """RudderStack's SDK does not try again after a timeout; the event is not lost for that."""
    here.proxy.fail(Fault.HELD_ANSWER)
    errors = rudder_sdk(here.proxy.base, calls(EVERY_TYPE[-1:], person()), timeout=500)
    assert errors == ["timeout of 500ms exceeded"]
    here.check(expected(EVERY_TYPE[-1:]))


@pytest.mark.parametrize(("send", "options"), EACH)
def test_a_withdrawal_stops_what_is_queued(here: World, send: Send, options: Any) -> None:
    somebody = person()
    here.vendors.mode("webhook", "5xx")
    message = {"type": "track", "event": "Ordered", "userId": somebody, "context": YES}
    assert send(here.proxy.base, [message], **options) == []
    sent = here.proxy.sent[0]["messageId"]
    for destination in ("ads", "warehouse"):
        waiting(here, sent, destination)
    withdrawn = here.withdraw({"userId": somebody}, "advertising")
    here.vendors.mode("webhook", "ok")
    settled = here.server.event(sent)
    assert settled["ads"]["state"] == settled["crm"]["state"] == "withheld"
    assert settled["ads"]["decision"]["grounds"] == [{"recordId": withdrawn["recordId"]}]
    # "rudder" was not in 5xx mode: it had the event before the withdrawal, and keeps it.
    assert settled["rudder"]["state"] == "delivered"
    here.check([ANALYTICS | {"rudder"}], changed=frozenset({0}))


@pytest.mark.parametrize(("send", "options"), EACH)
def test_a_withdrawal_outweighs_what_comes_after(here: World, send: Send, options: Any) -> None:
    somebody = person()
    choice = {"type": "track", "event": UPDATE, "userId": somebody, "context": YES}
    stamped = {"type": "track", "event": "Seen", "userId": somebody, "context": YES}
    one_batch = {**options, "flushAt": 1} if send is not python_sdk else options
    assert send(here.proxy.base, [choice, stamped], **one_batch) == []
    here.check([BOTH, BOTH])
    here.withdraw({"userId": somebody})
    assert send(here.proxy.base, [stamped], **options) == []
    here.check([BOTH, BOTH, NOTHING], changed=frozenset({0, 1}))


@pytest.mark.parametrize(("send", "options"), EACH)
def test_an_old_grant_that_comes_late_lifts_no_withdrawal(
    here: World, send: Send, options: Any
) -> None:
    """It waited in a queue while the person withdrew. When it was made is what counts."""
    somebody = person()
    here.withdraw({"userId": somebody})
    old = "2026-01-01T00:00:00.000Z"
    choice: dict[str, Any] = {"type": "track", "event": UPDATE, "userId": somebody, "context": YES}
    choice |= _made(send, old)
    assert send(here.proxy.base, [choice], **options) == []
    here.check([NOTHING | {"crm"}])


def _made(send: Send, moment: str) -> dict[str, Any]:
    """When an event was made, as each SDK says it."""
    if send is python_sdk:
        return {"timestamp": datetime.fromisoformat(moment)}
    return {"originalTimestamp" if send is rudder_sdk else "timestamp": moment}


@pytest.mark.parametrize(("send", "options"), EACH)
def test_a_malformed_stamp_is_refused_alone(here: World, send: Send, options: Any) -> None:
    somebody = person()
    bad = {"consent": {"categoryPreferences": {"analytics": "yes"}}}
    messages = [
        {"type": "track", "event": "Good", "userId": somebody, "context": STATISTICS},
        {"type": "track", "event": "Bad", "userId": somebody, "context": bad},
        {"type": "track", "event": "Refusal", "userId": somebody, "context": NO},
    ]
    assert send(here.proxy.base, messages, **options) == []
    good = [m for m in here.proxy.sent if m["event"] != "Bad"]
    here.check([ANALYTICS, NOTHING], messages=good)
    (bad_id,) = (m["messageId"] for m in here.proxy.sent if m["event"] == "Bad")
    refused = [r for e in here.proxy.posts for r in _json(e.answer).get("rejected", [])]
    assert [r["messageId"] for r in refused] == [bad_id]
    assert refused[0]["field"] == "context.consent.categoryPreferences.analytics"
    assert here.server.admin("GET", f"/v1/events/{bad_id}").status == 404


@pytest.mark.parametrize(("send", "options"), EACH)
def test_an_unknown_key_is_an_error_that_the_sdk_reports(
    here: World, send: Send, options: Any
) -> None:
    messages = calls(EVERY_TYPE[:1], person())
    errors = send(here.proxy.base, messages, **options, write_key=NOBODY)
    assert len(errors) == 1
    (only,) = here.proxy.posts  # and it is final: nothing was tried again
    assert only.status == 401
    assert {"code", "message"} <= _json(only.answer).keys()
    assert all(ids == [] for ids in here.taken().values())


@pytest.mark.parametrize(("send", "options"), EACH[:2])
def test_a_rate_limit_is_waited_for(here: World, send: Send, options: Any) -> None:
    """Five events may come at once, then one every five seconds."""
    somebody = person()
    key = SLOW_SECRETS[send.__name__]
    messages = [
        {"type": "track", "event": f"E{n}", "userId": somebody, "context": YES} for n in range(6)
    ]
    for some in (messages[:5], messages[5:]):
        assert send(here.proxy.base, some, **options, write_key=key) == []
    _was_patient(here)
    here.check([BOTH] * 6)


def _was_patient(here: World) -> None:
    """After the 429 the same messages came again, and not before they were asked to."""
    _, refused, again = here.proxy.posts
    assert [refused.status, again.status] == [429, 200]
    assert refused.messages == again.messages
    wait_s = int(refused.answer_headers["retry-after"])
    assert wait_s >= 1
    assert again.started_s - refused.ended_s >= wait_s - 0.05


def _json(body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_real_batch_of_hundreds(here: World) -> None:
    somebody = person()
    contexts: tuple[dict[str, Any], ...] = (YES, STATISTICS, NO, rudder_form("analytics"), {})
    wanted = (BOTH, ANALYTICS, NOTHING, ANALYTICS, NOTHING)
    messages = [
        {"type": "track", "event": f"E{n}", "userId": f"{somebody}-{n}", "context": contexts[n % 5]}
        for n in range(200)
    ]
    assert python_sdk(here.proxy.base, messages, gzip=True) == []
    here.check([wanted[n % 5] for n in range(200)])
