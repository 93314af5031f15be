"""The parsers of what stands in a body: JSON, messages, stamps, the consent API, gzip, times."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import strategies as st

from consentry.core import moment
from consentry.core.event import FUTURE_TOLERANCE, Envelope, Event, Malformed, narrowed, parse_event
from consentry.core.stamp import Invalid, Stamp, read_stamp
from consentry.web import bodies, strict_json
from consentry.web.problems import Problem
from tests.fuzz import door, json_inputs, oracles
from tests.fuzz.door import size, told
from tests.fuzz.parser import Parser, calls

NOW = moment.parse("2026-11-22T12:00:00Z")
LONGEST = 20_000  # bytes that a fuzzed gzip body may unpack to
Read = Callable[[bytes], dict[str, Any]]


# -- JSON ------------------------------------------------------------------------------------------
def check_json(data: bytes, read: Read = door.read_object) -> str:
    """A body, and each message of its batch."""
    try:
        value = calls(2000 + 40 * len(data), lambda: read(data))
    except Problem as problem:
        assert problem.status == 400, problem.status
        assert problem.message, problem.code
        return problem.code
    assert isinstance(value, dict)
    batch = value.get("batch")
    parts = batch if isinstance(batch, list) else [value]
    found = [calls(2000 + 40 * len(data), lambda one=one: size(one)) for one in parts]
    good = [one for one, weight in zip(parts, found, strict=True) if isinstance(weight, int)]
    assert _sizes_are_right(parts, found)
    hot = door.hot(data, single=not isinstance(batch, list))
    assert hot is None or [*map(_short, hot)] == [*map(_short, found)], "the hot path disagrees"
    _read_alike(data, batch if isinstance(batch, list) else None, parts, found)
    for one in good:
        again = msgspec.json.encode(one)
        if isinstance(one, dict):
            assert read(again) == one, "what was read is not read alike again"
    codes = {weight.code for weight in found if isinstance(weight, Malformed)}
    return "+".join(sorted(codes)) or "read"


def _short(weight: Any) -> Any:
    return weight.code if isinstance(weight, Malformed) else weight


def _sizes_are_right(parts: list[Any], found: list[Any]) -> bool:
    return all(
        weight == len(msgspec.json.encode(one))
        for one, weight in zip(parts, found, strict=True)
        if isinstance(weight, int)
    )


def _read_alike(data: bytes, batch: list[Any] | None, parts: list[Any], found: list[Any]) -> None:
    """What is taken has one reading only: the plain parser's, with nothing thrown away."""
    try:
        written = oracles.as_written(data)
        plain = json.loads(data)
    except (ValueError, RecursionError):
        # Not for every reader: then somebody's message must have been refused for it.
        assert any(isinstance(weight, Malformed) for weight in found), (
            "taken, but no JSON to others"
        )
        return
    texts = oracles.members(written, "batch")[0] if batch is not None else [written]
    plains = plain["batch"] if batch is not None else [plain]
    for one, weight, text, alike in zip(parts, found, texts, plains, strict=True):
        if isinstance(weight, int):
            assert not oracles.repeats(text), "a repeated member was taken"
            assert msgspec.json.encode(one) == msgspec.json.encode(alike), "read otherwise"


# -- messages --------------------------------------------------------------------------------------
def check_message(data: bytes, parse: Callable[..., Event | Malformed] = parse_event) -> str:
    """A body of two members, ``message`` and ``batch``: what it says, and what its batch says."""
    try:
        both = door.read_object(data)
    except Problem:
        return "no JSON"
    raw, given = both.get("message"), both.get("given")
    given = given if isinstance(given, dict) else {}
    parts = (raw, given.get("context"), given.get("integrations"))
    if any(strict_json.flaw(part) for part in parts):
        return "flawed"
    objects = [part if isinstance(part, dict) else None for part in parts[1:]]
    envelope = Envelope(NOW, None, objects[0], objects[1], "192.0.2.1")
    event = calls(5000 + 40 * len(data), lambda: parse(raw, envelope, fallback_id="fallback"))
    if isinstance(event, Malformed):
        assert event.code, "a refusal has a code"
        assert event.message, "and a message"
        return event.code
    _strictest(event, raw.get("context"), objects[0])
    _narrow(event, raw.get("integrations"), objects[1])
    _true(event, raw, data)
    again = parse(told(event), Envelope(NOW), fallback_id="other")
    assert isinstance(again, Event), again
    assert _told(again) == _told(event), "what is stored is not what was decided on"
    return f"{event.type}, {'stamped' if event.stamp else 'unstamped'}"


def _strictest(event: Event, own: Any, given: Any) -> None:
    said = oracles.granted(own, given)
    if event.stamp is None:
        assert not oracles.answers(own), "a stamp was overlooked"
        assert not oracles.answers(given), "a stamp of the batch was overlooked"
        return
    assert event.stamp.granted <= said, f"granted {event.stamp.granted - said} beyond {said}"
    named = {*oracles.answers(own), *oracles.answers(given)}
    assert named <= event.stamp.stated, "a category that was named is not stated"
    assert event.stamp.granted <= event.stamp.stated


def _narrow(event: Event, own: Any, given: Any) -> None:
    names = {*(own or {}), *(given or {}), "a", "nobody"} - {"All"}
    for name in names:
        if narrowed(own, name) or narrowed(given, name):
            assert narrowed(event.integrations, name), f"{name} was kept away, and is not"


def _true(event: Event, raw: dict[str, Any], data: bytes) -> None:
    assert event.anonymous_id or event.user_id, "an event is about somebody"
    if event.made_at is not None:
        assert 0 <= event.made_at <= NOW + FUTURE_TOLERANCE
        assert event.claimed_at is None or event.made_at <= event.claimed_at
    assert "writeKey" not in told(event)
    assert len(msgspec.json.encode(told(event))) <= 3 * len(data) + 1000
    assert event.message_id == (raw.get("messageId") or "fallback")


def _told(event: Event) -> tuple[Any, ...]:
    ids = (event.message_id, event.type, event.name, event.anonymous_id, event.user_id)
    kept_away = sorted(n for n in (event.integrations or {}) if narrowed(event.integrations, n))
    return (*ids, event.previous_id, event.email, event.phone, event.stamp, kept_away)


def check_stamp(data: bytes, read: Callable[..., Stamp | None] = read_stamp) -> str:
    """A context by itself."""
    try:
        context = json.loads(data)
    except (ValueError, RecursionError):
        return "no JSON"
    if not isinstance(context, dict):
        return "no context"
    for beside in (False, True):
        try:
            stamp = read(context, has_integrations=beside)
        except Invalid as refused:
            assert refused.field.startswith("context."), refused.field
            continue
        if stamp is None:
            assert not oracles.answers(context), "a stamp was overlooked"
        else:
            assert stamp.granted <= oracles.granted(context)
            assert set(oracles.answers(context)) <= stamp.stated
    return "refused" if "stamp" not in locals() else "silent" if stamp is None else "stamped"


# -- the consent API -------------------------------------------------------------------------------
TYPES: tuple[type[bodies.Body], ...] = (
    *(bodies.Consent, bodies.Withdraw, bodies.Lookup, bodies.Suppress),
    *(bodies.Decisions, bodies.Imports, bodies.Which),
)


def check_body(data: bytes, read: Callable[..., Any] = bodies.read_bytes) -> str:
    """The same bytes as each of the bodies."""
    outcomes = set()
    for type_ in TYPES:
        try:
            body = read(data, type_)
        except Problem as problem:
            assert problem.status == 400
            outcomes.add(problem.code)
            continue
        assert not oracles.repeats(oracles.as_written(data)), "a repeated member was taken"
        assert read(msgspec.json.encode(body), type_) == body
        preferences = getattr(body, "preferences", None) or {}
        assert all(type(answer) is bool for answer in preferences.values())
        outcomes.add(type_.__name__)
        subject = getattr(body, "subject", None)
        if subject is not None:
            outcomes.add(_nodes(subject))
    return "+".join(sorted(outcomes))


def _nodes(subject: bodies.Subject) -> str:
    try:
        nodes = subject.nodes()
    except Problem as problem:
        assert (problem.field or "").startswith("subject"), problem.field
        return problem.code
    assert nodes, "a choice is somebody's"
    return f"{len(nodes)} identifiers"


@st.composite
def api_bodies(draw: st.DrawFn) -> str:
    """A body of the consent API, mostly right."""
    who = draw(st.dictionaries(st.sampled_from(("anonymousId", "userId", "email", "phone")),
                               st.sampled_from(('"a@b.example"', '"+49 30 123456"', '""', "null", "7")),
                               max_size=3))  # fmt: skip
    subject = "{" + ",".join(f'"{name}":{value}' for name, value in who.items()) + "}"
    answers = draw(
        st.sampled_from(('{"analytics":true}', '{"a":false,"a":true}', '{"":true}', "{}"))
    )
    members = {
        "subject": subject,
        "preferences": answers,
        "categories": '["analytics"]',
        "topics": '{"news":{"email":false}}',
        "timestamp": '"2026-11-22T10:00:00Z"',
        "evidence": draw(st.sampled_from(("{}", '{"action":"sell"}', '{"noticeHash":"x"}'))),
        "history": "true",
        "items": f'[{{"id":"1","subject":{subject}}}]',
        "choices": "[1]",
        "message_ids": "[]",
        "colour": draw(json_inputs.documents(2)),
    }
    kept = draw(st.sets(st.sampled_from(sorted(members)), max_size=4)) | {"subject"}
    return "{" + ",".join(f'"{name}":{members[name]}' for name in sorted(kept)) + "}"


# -- gzip ------------------------------------------------------------------------------------------
def check_gzip(data: bytes, unpack: Callable[[bytes, int], bytes] = strict_json.gunzip) -> str:
    """Bytes that claim to be gzip."""
    try:
        plain = unpack(data, LONGEST)
    except Problem as problem:
        assert problem.status == 400
        return problem.code
    assert len(plain) <= LONGEST, "more than was allowed"
    inflate = zlib.decompressobj(wbits=31)
    assert inflate.decompress(data) == plain
    assert inflate.eof, "a body that is cut off was taken"
    assert not inflate.unused_data, "what follows the body was overlooked"
    return "unpacked"


@st.composite
def gzips(draw: st.DrawFn) -> bytes:
    plain = draw(st.binary(max_size=50)) * draw(st.sampled_from((1, 10, 500, 2000)))
    packed = gzip.compress(plain, mtime=0)
    cut = draw(st.sampled_from((0, 0, 0, 1, 8, 9)))
    more = draw(st.sampled_from((b"", b"", b"\0", gzip.compress(b"{}", mtime=0))))
    return packed[: len(packed) - cut] + more


# -- times -----------------------------------------------------------------------------------------
_EXACT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(\d{3})?Z")


def check_time(data: bytes, parse: Callable[[str], int] = moment.parse) -> str:
    """Text that may be a moment."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        at = parse(text)
    except ValueError:
        return "no time"
    for written in (moment.format_exact(at), moment.format_rfc3339(at)):
        assert _EXACT.fullmatch(written), written
    assert parse(moment.format_exact(at)) == at
    assert parse(moment.format_rfc3339(at)) == at - at % 1000
    assert datetime.fromisoformat(moment.format_exact(at)).tzinfo == UTC
    return "time"


_moments = st.datetimes().map(datetime.isoformat)
_zones = st.sampled_from(("", "Z", "+00:00", "-23:59", "+14:00", "+24:00", "+05:30:10.5", "z"))
times = st.one_of(
    st.builds(lambda text, zone: (text + zone).encode(), _moments, _zones),
    st.sampled_from(json_inputs.TIMES).map(str.encode),
    st.text(alphabet="0123456789-:TZW.+ \u0661\u00b2", max_size=30).map(str.encode),
)


_given = st.tuples(
    st.one_of(json_inputs.stamps(), json_inputs.stamps(), json_inputs.documents(1)),
    json_inputs.mostly(('{"All":false}', '{"a":false}', "{}"), ("7", '{"a":1,"a":false}')),
)
_pairs = st.tuples(json_inputs.messages(), _given).map(
    lambda p: f'{{"message":{p[0]},"given":{{"context":{p[1][0]},"integrations":{p[1][1]}}}}}'
)
PARSERS = (
    Parser(
        "json",
        check_json,
        json_inputs.encoded(
            json_inputs.batches(json_inputs.messages())
            | json_inputs.batches(json_inputs.documents())
            | json_inputs.objects()
            | json_inputs.nested()
        ),
    ),
    Parser("message", check_message, json_inputs.encoded(_pairs)),
    Parser("stamp", check_stamp, json_inputs.encoded(json_inputs.stamps())),
    Parser("body", check_body, json_inputs.encoded(api_bodies() | json_inputs.objects())),
    Parser("gzip", check_gzip, gzips() | st.binary(max_size=60)),
    Parser("time", check_time, times),
)
