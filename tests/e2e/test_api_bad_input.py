"""Bad input: each gets its answer, the rest of its batch is taken, memory stays bounded."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import socket
import zlib
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.asking import BOTH, fresh, message, peak_kib, send, states
from tests.running import ADMIN_KEY, BACKEND_KEY, WRITE_KEY, Answer, Server, StandIn, call, wait_for

LARGEST_EVENT = 32 * 1024
LARGEST_BATCH = 500 * 1024


def written(**more: Any) -> bytes:
    """A good message with some members replaced; ``DROP`` takes one out."""
    one = {**message(stamp=BOTH), **more}
    return json.dumps({k: v for k, v in one.items() if v is not DROP}).encode()


def spelt(member: bytes) -> bytes:
    """A good message with one more member, spelt in bytes."""
    return written()[:-1] + b", " + member + b"}"


def sized(bytes_: int) -> bytes:
    """A message that is exactly so long when it is written without spaces."""
    one = {**message(stamp=BOTH), "properties": {"text": ""}}
    one["properties"]["text"] = "x" * (bytes_ - len(json.dumps(one, separators=(",", ":"))))
    return json.dumps(one, separators=(",", ":")).encode()


DROP = object()
PREFERENCES = "context.consent.categoryPreferences"


def consent(value: Any) -> bytes:
    return written(context={"consent": value})


def nested(levels: int) -> bytes:
    return spelt(b'"properties": ' + b'{"a":' * levels + b"1" + b"}" * levels)


# name: (one message as bytes, code, field)
MESSAGES: dict[str, tuple[bytes, str, str | None]] = {
    "a preference that is no boolean": (
        consent({"categoryPreferences": {"analytics": "yes"}}),
        "invalid_type",
        f"{PREFERENCES}.analytics",
    ),
    "a preference that is 1": (
        consent({"categoryPreferences": {"analytics": 1}}),
        "invalid_type",
        f"{PREFERENCES}.analytics",
    ),
    "a preference that is null": (
        consent({"categoryPreferences": {"analytics": None}}),
        "invalid_type",
        f"{PREFERENCES}.analytics",
    ),
    "preferences that are a list": (
        consent({"categoryPreferences": ["analytics"]}),
        "invalid_type",
        PREFERENCES,
    ),
    "consent that is null": (consent(None), "invalid_type", "context.consent"),
    "consent that is true": (consent(True), "invalid_type", "context.consent"),
    "a context that is null": (written(context=None), "invalid_type", "context"),
    "a context that is text": (written(context="all"), "invalid_type", "context"),
    "RudderStack's ids as text": (
        written(context={"consentManagement": {"deniedConsentIds": "analytics"}}),
        "invalid_type",
        "context.consentManagement.deniedConsentIds",
    ),
    "integrations that are a list": (written(integrations=["ads"]), "invalid_type", "integrations"),
    "no ids": (written(anonymousId=DROP), "missing_id", "anonymousId"),
    "ids that are null": (written(anonymousId=None, userId=None), "missing_id", "anonymousId"),
    "an empty id": (written(anonymousId=""), "missing_id", "anonymousId"),
    "a number as userId": (written(userId=7), "invalid_type", "userId"),
    "a number as anonymousId": (written(anonymousId=7), "invalid_type", "anonymousId"),
    "a number as messageId": (written(messageId=7), "invalid_type", "messageId"),
    "a number as event": (written(event=7), "invalid_type", "event"),
    "no event": (written(event=DROP), "invalid_type", "event"),
    "a number as timestamp": (written(timestamp=1763856000), "invalid_type", "timestamp"),
    "no time": (written(timestamp="yesterday"), "invalid_time", "timestamp"),
    "the 30th of February": (written(sentAt="2026-02-30T00:00:00Z"), "invalid_time", "sentAt"),
    "a messageId that is too long": (written(messageId="m" * 101), "too_long", "messageId"),
    "a userId that is too long": (written(userId="u" * 513), "too_long", "userId"),
    "an unknown type": (written(type="sell"), "unknown_type", "type"),
    "a type that is a number": (written(type=3), "invalid_type", "type"),
    "a choice without preferences": (
        written(event="Segment Consent Preference Updated", context={}),
        "missing_preferences",
        PREFERENCES,
    ),
    "nested a hundred deep": (nested(100), "too_deep", None),
    "a repeated key": (spelt(b'"userId": "a", "userId": "b"'), "repeated_member", None),
    "a repeated key, deep inside": (
        spelt(b'"properties": {"consent": {"a": true}, "consent": {}}'),
        "repeated_member",
        None,
    ),
    "a key repeated in another spelling": (
        spelt(b'"user\\u0049d": "a", "userId": "b"'),
        "repeated_member",
        None,
    ),
    "half of an emoji": (spelt(b'"properties": {"a": "\\ud83d"}'), "invalid_value", None),
    "bytes that are not UTF-8": (spelt(b'"properties": {"a": "\xff"}'), "invalid_value", None),
    "a number beyond every float": (spelt(b'"properties": {"a": 1e999}'), "invalid_value", None),
    "an integer beyond 64 bits": (
        spelt(b'"integrations": {"x": 20000000000000000000}'),
        "invalid_value",
        None,
    ),
    "a negative integer beyond 64 bits": (
        spelt(b'"properties": {"a": [[-9223372036854775809]]}'),
        "invalid_value",
        None,
    ),
    "an integer far beyond 64 bits, read with care": (
        spelt(b'"properties": {"a": "\\u0022", "b": ' + b"1" * 30 + b"}"),
        "invalid_value",
        None,
    ),
    "one byte too large": (sized(LARGEST_EVENT + 1), "event_too_large", None),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_a_bad_message_is_refused_by_itself(acme: Server, case: str) -> None:
    text, code, field = MESSAGES[case]
    alone = call(acme.base, "POST", "/v1/track", text, basic=WRITE_KEY)
    assert (alone.status, alone.json["code"], alone.json.get("field")) == (400, code, field)
    assert alone.json["message"]
    before, after = message(stamp=BOTH), message(stamp=BOTH)
    batch = b'{"batch": [' + b",".join((dumped(before), text, dumped(after))) + b"]}"
    answer = call(acme.base, "POST", "/v1/batch", batch, basic=WRITE_KEY)
    assert (answer.status, answer.json["success"]) == (200, True), answer.body
    (refused,) = answer.json["rejected"]
    assert (refused["index"], refused["code"], refused.get("field")) == (1, code, field)
    assert refused["message"]
    assert refused.keys() >= {"index", "messageId", "code", "message"}
    for one in (before, after):
        assert states(acme, one["messageId"]) == {"warehouse": "delivered", "ads": "delivered"}
    if refused["messageId"]:
        assert acme.admin("GET", f"/v1/events/{refused['messageId']}").status == 404


@pytest.mark.parametrize("number", [-(2**63), 2**64 - 1, 1e300])
def test_the_largest_numbers_are_taken(acme: Server, number: float) -> None:
    one = message(stamp=BOTH, properties={"a": number}, integrations={"x": {"y": [number]}})
    send(acme, one)
    assert states(acme, one["messageId"])["warehouse"] == "delivered"


def test_a_number_that_the_whole_batch_is_given_is_refused_with_it(acme: Server) -> None:
    body = {"batch": [message()], "integrations": {"x": 2**64}}
    answer = call(acme.base, "POST", "/v1/batch", body, basic=WRITE_KEY)
    assert (answer.status, answer.json["code"]) == (400, "invalid_value")


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("what", [7, "text", None, True, ["a"]])
def test_what_is_no_message_at_all(acme: Server, what: Any) -> None:
    good = message(stamp=BOTH)
    body = {"batch": [what, good]}
    answer = call(acme.base, "POST", "/v1/batch", body, basic=WRITE_KEY)
    assert answer.status == 200
    (refused,) = answer.json["rejected"]
    assert (refused["index"], refused["code"]) == (0, "invalid_type")
    assert states(acme, good["messageId"])["ads"] == "delivered"


def test_the_path_and_the_type_must_agree(acme: Server) -> None:
    answer = call(acme.base, "POST", "/v1/track", message("page"), basic=WRITE_KEY)
    assert (answer.status, answer.json["field"]) == (400, "type")


GZIPPED = {"Content-Encoding": "gzip"}
# name: (body, headers, code, field)
BODIES: dict[str, tuple[bytes, dict[str, str], str, str | None]] = {
    "nothing": (b"", {}, "invalid_json", None),
    "no JSON": (b"hello", {}, "invalid_json", None),
    "cut off": (b'{"batch": [{"type": "track"', {}, "invalid_json", None),
    "a trailing comma": (b'{"batch": [],}', {}, "invalid_json", None),
    "NaN": (b'{"batch": [{"a": NaN}]}', {}, "invalid_json", None),
    "a list": (b"[]", {}, "invalid_json", None),
    "a batch that is an object": (b'{"batch": {}}', {}, "invalid_batch", "batch"),
    "no batch": (b"{}", {}, "invalid_batch", "batch"),
    "batch twice": (b'{"batch": [], "batch": []}', {}, "repeated_member", None),
    "a context that is text": (b'{"batch": [], "context": "x"}', {}, "invalid_type", "context"),
    "integrations that are true": (
        b'{"batch": [], "integrations": true}',
        {},
        "invalid_type",
        "integrations",
    ),
    "a repeated key in the context": (
        b'{"batch": [], "context": {"consent": {}, "consent": {}}}',
        {},
        "repeated_member",
        "context",
    ),
    "a sentAt that is no time": (b'{"batch": [], "sentAt": "now"}', {}, "invalid_time", "sentAt"),
    "a context that is nested 100,000 deep": (
        b'{"batch": [], "context": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        {},
        "too_deep",
        "context",
    ),
    "nested 100,000 deep and never closed": (
        b'{"batch": ' + b"[" * 100_000,
        {},
        "invalid_json",
        None,
    ),
    "one byte too large": (
        b'{"batch": []' + b" " * (LARGEST_BATCH + 1 - 13) + b"}",
        {},
        "too_large",
        None,
    ),
    "no gzip": (b'{"batch": []}', GZIPPED, "invalid_gzip", None),
    "gzip that is cut off": (gzip.compress(b'{"batch": []}')[:-9], GZIPPED, "invalid_gzip", None),
    "more after the gzip": (
        gzip.compress(b'{"batch": []}') + gzip.compress(b'{"batch": []}'),
        GZIPPED,
        "invalid_gzip",
        None,
    ),
    "gzip of what is too large": (
        gzip.compress(b'{"batch": []' + b" " * LARGEST_BATCH + b"}"),
        GZIPPED,
        "too_large",
        None,
    ),
    "another encoding": (b"{}", {"Content-Encoding": "br"}, "unsupported_encoding", None),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_is_refused_whole(acme: Server, case: str) -> None:
    body, headers, code, field = BODIES[case]
    answer = call(acme.base, "POST", "/v1/batch", body, basic=WRITE_KEY, headers=headers)
    assert (answer.status, answer.json["code"], answer.json.get("field")) == (400, code, field)
    assert answer.json["message"]


# -- limits, from both sides ----------------------------------------------------------------------
def test_a_message_of_exactly_the_limit_is_taken(acme: Server) -> None:
    text = sized(LARGEST_EVENT)
    assert call(acme.base, "POST", "/v1/track", text, basic=WRITE_KEY).status == 200
    assert states(acme, json.loads(text)["messageId"])["warehouse"] == "delivered"


def test_a_batch_of_exactly_the_limit_is_taken(acme: Server) -> None:
    one = message(stamp=BOTH)
    body = dumped({"batch": [one]})
    body = body[:-1] + b" " * (LARGEST_BATCH - len(body)) + b"}"
    assert len(body) == LARGEST_BATCH
    assert call(acme.base, "POST", "/v1/batch", body, basic=WRITE_KEY).status == 200
    assert states(acme, one["messageId"])["warehouse"] == "delivered"


def test_of_2501_messages_the_last_is_refused(acme: Server) -> None:
    ids = [fresh("n") for _ in range(2501)]
    batch = [{"type": "page", "anonymousId": i, "messageId": i} for i in ids]
    answer = call(acme.base, "POST", "/v1/batch", {"batch": batch}, basic=WRITE_KEY)
    assert answer.status == 200
    (refused,) = answer.json["rejected"]
    assert (refused["index"], refused["code"]) == (2500, "too_many")
    assert acme.admin("GET", f"/v1/events/{ids[2499]}").status == 200
    assert acme.admin("GET", f"/v1/events/{ids[2500]}").status == 404


def chunked(server: Server, path: str, chunks: list[bytes]) -> Answer:
    """A request that does not say how long it is."""
    host, port = server.base.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("POST", path, iter(chunks), encode_chunked=True)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def test_a_body_that_hides_its_length_is_cut_off_at_the_limit(acme: Server) -> None:
    answer = chunked(acme, "/v1/batch", [b" " * 64 * 1024] * 9)
    assert (answer.status, answer.json["code"]) == (400, "too_large")


def test_memory_stays_bounded(acme: Server, vendors: StandIn) -> None:
    """Bombs of 490 KB that unpack to half a gigabyte each, and bodies made to be costly."""
    bomb = _bomb(500 * 1024 * 1024)
    assert len(bomb) < LARGEST_BATCH
    send(acme, message())
    before = peak_kib(acme)
    for _ in range(5):
        answer = call(acme.base, "POST", "/v1/batch", bomb, basic=WRITE_KEY, headers=GZIPPED)
        assert (answer.status, answer.json["code"]) == (400, "too_large")
    for path, key in (("/v1/consent", WRITE_KEY), ("/v1/subjects/suppress", BACKEND_KEY)):
        answer = call(acme.base, "POST", path, bomb, basic=key, headers=GZIPPED)
        assert (answer.status, answer.json["code"]) == (413, "too_large")
    crowd = b'{"batch": [' + b",".join([b"[]"] * 170_000) + b"]}"
    answer = call(acme.base, "POST", "/v1/batch", crowd, basic=WRITE_KEY)
    assert (answer.status, answer.json["code"]) == (400, "too_many")
    assert peak_kib(acme) - before < 32 * 1024
    one = message(stamp=BOTH)
    send(acme, one)
    assert states(acme, one["messageId"])["ads"] == "delivered"


def test_bodies_that_never_end_do_not_fill_the_memory(acme: Server) -> None:
    """As many as fit are waited for; then a large choice is refused, and events still taken."""
    head = b"POST /v1/consent HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n"
    # Larger than any of those that wait, so that it does not fit where the next of them did not.
    choice = dumped({"subject": {"anonymousId": fresh("dev")}, "preferences": BOTH}).ljust(65_000)

    def choose() -> Answer:
        return call(acme.base, "POST", "/v1/consent", choice, basic=WRITE_KEY)

    with contextlib.ExitStack() as stack:
        for _ in range(16 * 1024 * 1024 // 64_000 + 10):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", acme.port)))
            slow.sendall(head + b" " * 64_000)
        refused = wait_for(lambda: (a := choose()).status == 503 and a, what="a refusal")
        assert (refused.json["code"], refused.headers["retry-after"]) == ("overloaded", "1")
        send(acme, message())
    wait_for(lambda: choose().status == 201, what="room again")


def _bomb(unpacked: int) -> bytes:
    pack = zlib.compressobj(9, wbits=31)
    zeros = b"0" * 1024 * 1024
    return b"".join(pack.compress(zeros) for _ in range(unpacked // len(zeros))) + pack.flush()


@pytest.mark.parametrize("message_id", ["a/b?c=d", "ü \u2603", "..", "%2F", "x" * 100])
def test_a_message_id_may_be_any_text(acme: Server, message_id: str) -> None:
    one = message(stamp=BOTH, messageId=message_id)
    send(acme, one)
    path = f"/v1/events/{quote(message_id, safe='')}"
    if message_id == "..":
        path = "/v1/events/%2e%2e"
    answer = acme.admin("GET", path)
    assert (answer.status, answer.json["messageId"]) == (200, message_id)


# -- the rest of the API --------------------------------------------------------------------------
WRONG: dict[str, tuple[str, str, int, str]] = {
    "no such path": ("GET", "/v1/nothing", 404, "not_found"),
    "wrong method": ("GET", "/v1/track", 405, "method_not_allowed"),
    "wrong method on the operator's side": ("POST", "/v1/destinations", 405, "method_not_allowed"),
    "a subject without its kind": ("GET", "/v1/subjects/u1", 404, "not_found"),
    "a bad cursor": ("GET", "/v1/subjects/user_id:u?history=true&cursor=x", 400, "invalid_cursor"),
    "a bad cursor of suppressions": ("GET", "/v1/suppressions?cursor=-1", 400, "invalid_cursor"),
    "a bad state": ("GET", "/v1/deliveries?state=lost", 400, "invalid_state"),
    "a bad cursor of deliveries": ("GET", "/v1/deliveries?cursor=x", 400, "invalid_cursor"),
    "a digit that is none": ("GET", "/v1/ledger?first=%C2%B2", 400, "invalid_cursor"),
    "a cursor beyond every number": (
        "GET",
        "/v1/suppressions?cursor=99999999999999999999999999",
        400,
        "invalid_cursor",
    ),
}


def sent_raw(server: Server, text: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the answer to bytes that may be no HTTP."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(text)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    return head, body


@pytest.mark.parametrize(
    "text", [b"nonsense\r\n\r\n", b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n"]
)
def test_what_is_no_http_is_told_so_in_json(acme: Server, text: bytes) -> None:
    head, body = sent_raw(acme, text)
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body).keys() == {"code", "message"}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests(acme: Server, case: str) -> None:
    method, path, status, code = WRONG[case]
    answer = call(acme.base, method, path, key=ADMIN_KEY)
    assert (answer.status, answer.json["code"]) == (status, code), answer.body
    assert answer.json["message"]
