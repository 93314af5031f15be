"""JSON that two readers would read differently: the strictest reading holds, and nothing is lost.

The oracle takes for each category every place and every occurrence that speaks of it, and grants
it only if all of them do. Whoever is asked about has granted everything on record, so that an
overlooked stamp shows: silence would let the event through.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.e2e.asking import BOTH, choose, fresh, message, send, states
from tests.fuzz import oracles
from tests.running import WRITE_KEY, Answer, Server, call, wait_for

NEEDS = {"warehouse": {"analytics"}, "ads": {"advertising", "analytics"}}
ALL = {"warehouse": "delivered", "ads": "delivered"}


@pytest.fixture(scope="module")
def who(acme: Server) -> str:
    """A device that has granted everything on record."""
    device = fresh("dev")
    choose(acme, {"anonymousId": device}, BOTH)
    return device


def post(acme: Server, path: str, body: bytes) -> Answer:
    return call(acme.base, "POST", path, body, basic=WRITE_KEY)


def written(device: str, message_id: str, members: bytes = b"") -> bytes:
    """A message with these members added, spelt in bytes."""
    one = message(anonymousId=device, messageId=message_id)
    return json.dumps(one).encode()[:-1] + (b", " + members if members else b"") + b"}"


def in_batch(*texts: bytes, given: bytes = b"") -> bytes:
    return b'{"batch": [' + b", ".join(texts) + b"]" + (b", " + given if given else b"") + b"}"


# -- a member that stands twice -------------------------------------------------------------------
YES, NO = b'{"analytics": true, "advertising": true}', b'{"analytics": false, "advertising": false}'
SILENT = b"{}"
WRAPPED: dict[str, tuple[bytes, bytes]] = {
    "context": (b"", b""),
    "consent": (b'"context": {', b"}"),
    "categoryPreferences": (b'"context": {"consent": {', b"}}"),
    "analytics": (b'"context": {"consent": {"categoryPreferences": {', b"}}}"),
}
SPELT = {
    name: (f'"{name}"'.encode(), f'"\\u{ord(name[0]):04x}{name[1:]}"'.encode()) for name in WRAPPED
}


def _value(name: str, preferences: bytes) -> bytes:
    if name == "analytics":
        return {YES: b"true", NO: b"false", SILENT: b"false"}[preferences]
    if name == "consent" and preferences != SILENT:
        return b'{"categoryPreferences": ' + preferences + b"}"
    if name == "context" and preferences != SILENT:
        return b'{"consent": {"categoryPreferences": ' + preferences + b"}}"
    return preferences


def twice(name: str, first: bytes, second: bytes, spelling: int) -> bytes:
    """A member that stands twice, the first or the second of them in another spelling."""
    left, right = WRAPPED[name]
    plain, escaped = SPELT[name]
    keys = ((plain, plain), (escaped, plain), (plain, escaped))[spelling]
    values = (_value(name, first), _value(name, second))
    pairs = (key + b": " + value for key, value in zip(keys, values, strict=True))
    return left + b", ".join(pairs) + right


ORDERS = {"first permissive": (YES, NO), "last permissive": (NO, YES), "last silent": (NO, SILENT)}
TWICE = list(itertools.product(WRAPPED, ORDERS, range(3)))


def granted(text: bytes, given: bytes = b"{}") -> set[str]:
    """By the strictest reading of a message and its batch."""
    contexts = [
        context
        for source in (text, given)
        for context in oracles.members(oracles.as_written(source), "context")
    ]
    return oracles.granted(*contexts)


def test_the_oracle_sees_every_occurrence() -> None:
    for name, order, spelling in TWICE:
        text = b"{" + twice(name, *ORDERS[order], spelling) + b"}"
        assert "analytics" not in granted(text), (name, order, spelling)
    assert granted(b'{"context": {"consent": {"categoryPreferences": ' + YES + b"}}}") == set(BOTH)


def test_a_member_that_stands_twice_alone(acme: Server, who: str) -> None:
    for name, order, spelling in TWICE:
        mine = fresh("twice")
        answer = post(acme, "/v1/track", written(who, mine, twice(name, *ORDERS[order], spelling)))
        assert answer.status == 400, (name, order, spelling)
        assert acme.admin("GET", f"/v1/events/{mine}").status == 404


def test_a_member_that_stands_twice_in_a_batch_is_refused_by_itself(acme: Server, who: str) -> None:
    good = [fresh("good") for _ in TWICE]
    bad = [fresh("bad") for _ in TWICE]
    texts = [
        text
        for n, (name, order, spelling) in enumerate(TWICE)
        for text in (
            written(who, bad[n], twice(name, *ORDERS[order], spelling)),
            written(who, good[n]),
        )
    ]
    answer = post(acme, "/v1/batch", in_batch(*texts))
    assert answer.status == 200
    assert [r["index"] for r in answer.json["rejected"]] == list(range(0, len(texts), 2))
    assert {acme.admin("GET", f"/v1/events/{one}").status for one in bad} == {404}
    assert all(states(acme, one) == ALL for one in good)


def test_a_member_that_stands_twice_around_a_batch(acme: Server, who: str) -> None:
    """The batch speaks for all of its messages, so none of them is taken, and all are told."""
    for name, order, spelling in TWICE:
        mine = [fresh("around"), fresh("around")]
        given = twice(name, *ORDERS[order], spelling)
        body = in_batch(*(written(who, one) for one in mine), given=given)
        answer = post(acme, "/v1/batch", body)
        assert (answer.status, answer.json["code"]) == (400, "repeated_member"), (name, order)
        assert {acme.admin("GET", f"/v1/events/{one}").status for one in mine} == {404}


# -- consent in many places -----------------------------------------------------------------------
PLACES = {
    "current": b'"consent": {"categoryPreferences": %s}',
    "draft": b'"consentCategories": %s',
    "RudderStack": b'"consentManagement": {"allowedConsentIds": %s, "deniedConsentIds": %s}',
}


def _said(place: str, yes: tuple[str, ...], no: tuple[str, ...]) -> bytes:
    if place == "RudderStack":
        return PLACES[place] % (json.dumps(yes).encode(), json.dumps(no).encode())
    preferences = {**dict.fromkeys(yes, True), **dict.fromkeys(no, False)}
    return PLACES[place] % json.dumps(preferences).encode()


def test_one_place_that_says_no_outweighs_all_that_say_yes(acme: Server, who: str) -> None:
    answers = (
        (("analytics", "advertising"), ()),
        (("analytics",), ("advertising",)),
        ((), ("analytics",)),
    )
    expected: dict[str, dict[str, str]] = {}
    for (own, given), (mine, theirs) in itertools.product(
        itertools.product(PLACES, PLACES), itertools.product(answers, answers)
    ):
        one = fresh("places")
        text = written(who, one, b'"context": {' + _said(own, *mine) + b"}")
        around = b'"context": {' + _said(given, *theirs) + b"}"
        assert post(acme, "/v1/batch", in_batch(text, given=around)).status == 200
        yes = granted(text, b"{" + around + b"}")
        expected[one] = {
            name: "delivered" if needed <= yes else "withheld" for name, needed in NEEDS.items()
        }
    assert {frozenset(x.items()) for x in expected.values()} > {frozenset(ALL.items())}
    assert {one: states(acme, one) for one in expected} == expected


# -- what no two readers agree on -----------------------------------------------------------------
NOBODY_READS = b'"properties": {"a": %s}'
REFUSED = {
    "bytes that are no UTF-8, where nobody reads": NOBODY_READS % b'"\xff"',
    "a key that is no UTF-8": b'"conte\xffxt": {}',
    "an overlong spelling": NOBODY_READS % b'"\xc0\xaf"',
    "a surrogate in UTF-8": NOBODY_READS % b'"\xed\xa0\xbd"',
    "half of an emoji as a key": NOBODY_READS % b'{"\\ud83d": 1}',
    "halves in the wrong order": NOBODY_READS % b'"\\ude00\\ud83d"',
    "half of an emoji as an id": b'"userId": "\\udfff"',
    "a number beyond every float": NOBODY_READS % b"1e999999",
    "a negative number beyond every float": NOBODY_READS % b"-1e999999",
    "an integer of 4,400 digits": NOBODY_READS % (b"9" * 4400),
    "an id that stands twice": b'"userId": "a", "userId": "b"',
    "an empty key that stands twice": NOBODY_READS % b'{"": 1, "": 2}',
    "__proto__ that stands twice": b'"__proto__": {}, "__proto__": {"context": null}',
    "65 levels": NOBODY_READS % (b"[" * 63 + b"]" * 63),
    "1,000 levels": NOBODY_READS % (b"[" * 1000 + b"]" * 1000),
    "1,000 levels of objects": NOBODY_READS % (b'{"a":' * 1000 + b"1" + b"}" * 1000),
    "100,000 levels": NOBODY_READS % (b"[" * 100_000 + b"]" * 100_000),
    "1,000 levels beside a member that stands twice": (
        NOBODY_READS % (b"[" * 1000 + b"]" * 1000) + b', "context": {}, "context": {}'
    ),
    "a key of 480 KB": b'"%s": 1' % (b"k" * 480_000),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_one_reading_is_refused_by_itself(acme: Server, who: str, case: str) -> None:
    good, bad, last = fresh("good"), fresh("bad"), fresh("good")
    texts = (written(who, good), written(who, bad, REFUSED[case]), written(who, last))
    answer = post(acme, "/v1/batch", in_batch(*texts))
    assert answer.status == 200, answer.body
    assert [r["index"] for r in answer.json["rejected"]] == [1]
    assert post(acme, "/v1/track", written(who, bad, REFUSED[case])).status == 400
    assert acme.admin("GET", f"/v1/events/{bad}").status == 404
    assert states(acme, good) == states(acme, last) == ALL


NO_JSON = {
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "NaN": lambda body: body[:-1] + b', "x": NaN}',
    "Infinity": lambda body: body[:-1] + b', "x": -Infinity}',
    "a raw NUL": lambda body: body[:-1] + b', "x": "\0"}',
    "a NUL at the end": lambda body: body + b"\0",
    "two documents": lambda body: body + body,
    "a comment": lambda body: b"/* */" + body,
    "a key of more than the body may have": lambda body: (
        body[:-1] + b', "%s": 1}' % (b"k" * 512_000)
    ),
}


@pytest.mark.parametrize("case", NO_JSON)
def test_what_is_no_json_is_refused_whole_and_told(acme: Server, who: str, case: str) -> None:
    mine = fresh("mine")
    answer = post(acme, "/v1/batch", NO_JSON[case](in_batch(written(who, mine))))
    assert answer.status == 400
    assert answer.json["code"] in ("invalid_json", "too_large")
    assert acme.admin("GET", f"/v1/events/{mine}").status == 404


BESIDE = (
    b'"con\xfftext": {"consent": {"categoryPreferences": {"analytics": false}}}',
    b'"x": "\xff"',
    b'"\\udc80": 1',
    b'"x": {"context": 1, "context": 2}',
    b'"x": 1e999',
)


@pytest.mark.parametrize("given", BESIDE)
def test_what_is_unsound_beside_the_messages_is_refused_with_them(
    acme: Server, who: str, given: bytes
) -> None:
    """Another reader could take it for their context, so nothing is taken, and that is told."""
    mine = fresh("mine")
    answer = post(acme, "/v1/batch", in_batch(written(who, mine), given=given))
    assert answer.status == 400
    assert answer.json["code"] in ("invalid_value", "repeated_member")
    assert acme.admin("GET", f"/v1/events/{mine}").status == 404


TAKEN: dict[str, tuple[bytes, dict[str, str]]] = {
    "64 levels": (NOBODY_READS % (b"[" * 62 + b"]" * 62), ALL),
    "minus zero": (NOBODY_READS % b"-0", ALL),
    "NUL in a text": (NOBODY_READS % b'"\\u0000"', ALL),
    "an empty key": (NOBODY_READS % b'{"": 1}', ALL),
    "keys that differ by normalisation": (NOBODY_READS % '{"é": 1, "e\u0301": 2}'.encode(), ALL),
    "__proto__ in the preferences": (
        b'"context": {"consent": {"categoryPreferences": {"__proto__": true}}}',
        dict.fromkeys(ALL, "withheld"),
    ),
    "preferences under __proto__": (
        b'"context": {"consent": {"__proto__": {"categoryPreferences": %s}}}' % YES,
        dict.fromkeys(ALL, "withheld"),
    ),
    "preferences in capitals": (
        b'"context": {"consent": {"CategoryPreferences": %s}}' % YES,
        dict.fromkeys(ALL, "withheld"),
    ),
    "categories in capitals": (
        b'"context": {"consent": {"categoryPreferences": {"Analytics": true, "ADVERTISING": true}}}',
        dict.fromkeys(ALL, "withheld"),
    ),
    "a category in letters that look alike": (
        '"context": {"consent": {"categoryPreferences": {"\u0430nalytics": true}}}'.encode(),
        dict.fromkeys(ALL, "withheld"),
    ),
    "a category that differs by normalisation": (
        '"context": {"consent": {"categoryPreferences": {"analytics\u0301": true}}}'.encode(),
        dict.fromkeys(ALL, "withheld"),
    ),
    "a category with a space": (
        b'"context": {"consent": {"categoryPreferences": {"analytics ": true}}}',
        dict.fromkeys(ALL, "withheld"),
    ),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_odd_but_clear_is_taken_at_its_word(acme: Server, who: str, case: str) -> None:
    members, expected = TAKEN[case]
    one = fresh("odd")
    assert post(acme, "/v1/track", written(who, one, members)).json == {"success": True}
    assert states(acme, one) == expected


def test_an_id_with_nul_is_somebody_else(acme: Server, who: str) -> None:
    other = message(anonymousId=f"{who}\0")
    send(acme, other)
    assert states(acme, other["messageId"]) == dict.fromkeys(ALL, "withheld")


# -- what a batch gives to its messages -----------------------------------------------------------
def test_what_a_batch_gives_counts_for_each_of_its_messages(acme: Server, who: str) -> None:
    size = _stored(acme)
    many = [{"type": "page", "anonymousId": who, "messageId": fresh("n")} for _ in range(2500)]
    body: dict[str, Any] = {"batch": many, "context": {"x": "y" * 200_000}}
    answer = call(acme.base, "POST", "/v1/batch", body, basic=WRITE_KEY)
    assert (answer.status, answer.json["code"]) == (400, "too_large")
    few = {**body, "batch": [message(anonymousId=who) for _ in range(3)]}
    answer = call(acme.base, "POST", "/v1/batch", few, basic=WRITE_KEY)
    assert {r["code"] for r in answer.json["rejected"]} == {"event_too_large"}
    assert _stored(acme) - size < 1_000_000
    usual = {"batch": [message(anonymousId=who) for _ in range(500)], "context": {"x": "y" * 2000}}
    assert call(acme.base, "POST", "/v1/batch", usual, basic=WRITE_KEY).json == {"success": True}
    last = usual["batch"][-1]["messageId"]
    wait_for(lambda: states(acme, last) == ALL, what="the last of them")


def _stored(acme: Server) -> int:
    return sum(path.stat().st_size for path in acme.folder.glob("consentry.db*"))
