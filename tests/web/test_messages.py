"""A tracking body is read message by message, and never otherwise than by the careful reader."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.event import Malformed
from consentry.web import strict_json
from consentry.web.messages import read_batch, read_single
from consentry.web.problems import Problem

MESSAGE = b'{"type":"track","event":"x","anonymousId":"a","properties":{"price":10.95}}'


def nested(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


# What one message comes to: the JSON that is kept, or the code of its refusal.
ALONE: dict[str, tuple[bytes, bytes | str]] = {
    "as it came": (MESSAGE, MESSAGE),
    "with spaces": (b'{ "a": 1 }', b'{"a":1}'),
    "letters spelled as escapes": (b'{"a":"\\u00fc"}', '{"a":"ü"}'.encode()),
    "a mark spelled as an escape": (b'{"a":"\\u0022"}', b'{"a":"\\""}'),
    "as deep as the quick reader goes": (nested(8), nested(8)),
    "deeper than that": (nested(9), nested(9)),
    "as deep as anybody may go": (nested(64), nested(64)),
    "deeper than anybody may go": (nested(65), "too_deep"),
    "the largest integer with a sign": (b'{"a":9223372036854775807}',) * 2,
    "an integer beyond it": (b'{"a":9223372036854775808}',) * 2,
    "the largest integer": (b'{"a":18446744073709551615}',) * 2,
    "an integer beyond 64 bits": (b'{"a":18446744073709551616}', "invalid_value"),
    "the smallest integer": (b'{"a":-9223372036854775808}',) * 2,
    "an integer below it": (b'{"a":-9223372036854775809}', "invalid_value"),
    "digits that are text": (b'{"a":"123456789012345678901234567890"}',) * 2,
    "a number beyond a float": (b'{"a":1e999}', "invalid_value"),
    "half of a letter": (b'{"a":"\\ud800"}', "invalid_value"),
    "bytes that are no text": (b'{"a":"\xff"}', "invalid_value"),
    "a member twice": (b'{"a":{"b":1,"b":1}}', "repeated_member"),
    "a member twice, once spelled as an escape": (b'{"a":{"b":1,"\\u0062":1}}', "repeated_member"),
    "a mark for a lost member": (b'{"a":"\\u0022\\u0022\\u0022\\u0022","b":1,"b":2}', "repeated_member"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "kept"), ALONE.values(), ids=ALONE)
def test_what_a_message_of_a_batch_comes_to(raw: bytes, kept: bytes | str) -> None:
    posted = read_batch(b'{"batch":[%b,%b,%b]}' % (MESSAGE, raw, MESSAGE))
    assert posted.count == 3
    (_, before), (_, found), (_, after) = posted
    assert before == after == MESSAGE, "it did not take the others along"
    assert (found.code if isinstance(found, Malformed) else found) == kept


@pytest.mark.parametrize(
    ("body", "code"),
    {
        "the batch twice": (b'{"batch":[],"batch":[]}', "repeated_member"),
        "a context twice": (b'{"context":{},"batch":[],"context":{}}', "repeated_member"),
        "no batch": (b"{}", "invalid_batch"),
        "a batch that is no list": (b'{"batch":{}}', "invalid_batch"),
        "no object": (b"[]", "invalid_json"),
        "cut off": (b'{"batch":[{}', "invalid_json"),
        "a bare control character in a message": (b'{"batch":[{"a":"\n"}]}', "invalid_json"),
        "a key of no text beside the messages": (b'{"batch":[],"c\xff":1}', "invalid_value"),
    }.values(),
)
def test_a_body_that_no_two_readers_read_alike_is_refused_whole(body: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        list(read_batch(body))
    assert (refused.value.status, refused.value.code) == (400, code)


def test_the_members_beside_the_messages_are_read() -> None:
    posted = read_batch(b'{"writeKey":"k","batch":[{},1],"sentAt":"now","context":{"a":[1]}}')
    beside = {k: v for k, v in posted.around.items() if k != "batch"}
    assert beside == {"writeKey": "k", "sentAt": "now", "context": {"a": [1]}}
    assert list(posted) == [({}, b"{}"), (1, b"1")]


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=3), json_values), st.booleans(), st.booleans())
def test_what_is_sound_is_read_as_everybody_reads_it(
    message: dict[str, Any], spaced: bool, ascii_only: bool
) -> None:
    separators = None if spaced else (",", ":")
    raw = json.dumps(message, separators=separators, ensure_ascii=ascii_only).encode()
    for posted in (read_single(raw), read_batch(b'{"batch":[%b]}' % raw)):
        ((read, text),) = posted
        assert read == message
        assert text == strict_json.weigh(message)


def test_one_message_is_in_memory_at_a_time() -> None:
    body = b'{"batch":[%b]}' % b",".join([MESSAGE] * 4000)
    tracemalloc.start()
    try:
        for _ in read_batch(body):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        assert len(list(read_batch(body))) == 4000
        whole = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < whole / 3
