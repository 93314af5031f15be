"""JSON as strangers write it: repeated members, odd spellings, wrong types, deep nesting."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

CATEGORIES = ("analytics", "advertising", "Analytics", "caf\u00e9", "cafe\u0301", "__proto__", "")
KEYS = (
    *("context", "consent", "categoryPreferences", "consentCategories", "consentManagement"),
    *("allowedConsentIds", "deniedConsentIds", "integrations", "All", "batch", "type", "event"),
    *("anonymousId", "userId", "previousId", "groupId", "messageId", "timestamp", "sentAt"),
    *("originalTimestamp", "traits", "properties", "email", "phone", "writeKey", "name", "ip"),
    *("subject", "preferences", "categories", "topics", "items", "id", "choices", "evidence"),
)
_names = st.sampled_from(KEYS + CATEGORIES) | st.text(max_size=5)
TIMES = (
    *("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.123+05:30", "1969-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59Z", "0001-01-01", "2026-02-30T00:00:00Z", "20261122T100000"),
)
_texts = st.one_of(
    st.sampled_from(TIMES),
    st.sampled_from(("track", "alias", "Segment Consent Preference Updated", "a@b.example", "x")),
    st.text(max_size=6),
)


def spelt(text: str) -> st.SearchStrategy[str]:
    """A string of JSON, now and then with one of its characters written as an escape."""
    plain = json.dumps(text, ensure_ascii=False)
    ways = [plain, plain, plain, json.dumps(text)]
    if text:
        ways += [
            f'"{_escaped(text[0])}{plain[1:][len(json.dumps(text[0], ensure_ascii=False)) - 2 :]}'
        ]
        ways += ['"' + "".join(map(_escaped, text)) + '"']
    return st.sampled_from(ways)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n : n + 2].hex()}" for n in range(0, len(units), 2))


ODD = (
    *("1e999", "-1e999", "1e-999", "-0", "0.1", "18446744073709551616", "-9223372036854775809"),
    *(
        '"\\ud83d"',
        '"\\ude00\\ud83d"',
        "NaN",
        "Infinity",
        "01",
        '"\udcff"',
        '"\\u0000"',
        '"\\u0022"',
    ),
)


@st.composite
def documents(draw: st.DrawFn, depth: int = 4) -> str:
    """Text that is JSON mostly. Lone surrogates stand for bytes that are not UTF-8."""
    kind = draw(st.integers(0, 9)) if depth else draw(st.integers(0, 5))
    if kind <= 2:
        return draw(st.sampled_from(("true", "false", "null", "0", "1", "{}", "[]", '""')))
    if kind <= 4:
        return draw(_texts.flatmap(spelt))
    if kind == 5:
        return draw(st.sampled_from(ODD))
    if kind == 6:
        return f"[{','.join(draw(st.lists(documents(depth - 1), max_size=4)))}]"
    return draw(objects(depth))


@st.composite
def objects(draw: st.DrawFn, depth: int = 4) -> str:
    """An object; a member in it may stand twice, in another spelling too."""
    names = draw(st.lists(_names, max_size=5))
    if names and draw(st.integers(0, 4)) == 0:
        names.append(draw(st.sampled_from(names)))
    members = [f"{draw(spelt(name))}:{draw(documents(depth - 1))}" for name in names]
    return f"{{{','.join(members)}}}"


@st.composite
def stamps(draw: st.DrawFn) -> str:
    """A context with consent in one or more of its three forms, right or wrong."""
    answers = mostly(("true", "false"), ("null", '"yes"'))
    pairs = st.lists(st.tuples(st.sampled_from(CATEGORIES), answers), max_size=4)

    def preferences() -> str:
        return "{" + ",".join(f"{draw(spelt(c))}:{a}" for c, a in draw(pairs)) + "}"

    members = []
    if draw(st.booleans()):
        inner = draw(st.sampled_from((None, None, None, None, "{}", "null", "[]")))
        inner = inner or f'{{"categoryPreferences":{preferences()}}}'
        members.append(f'"consent":{inner}')
    if draw(st.booleans()):
        members.append(f'"consentCategories":{preferences()}')
    if draw(st.booleans()):
        ids = st.lists(st.sampled_from(CATEGORIES).flatmap(spelt), max_size=3).map(",".join)
        lists = [
            f'"{name}":[{draw(ids)}]'
            for name in ("allowedConsentIds", "deniedConsentIds")
            if draw(st.booleans())
        ]
        lists.append('"resolutionStrategy":"or"')
        members.append(f'"consentManagement":{{{",".join(lists)}}}')
    if members and draw(st.integers(0, 5)) == 0:
        members.append(draw(st.sampled_from(members)))
    return "{" + ",".join(draw(st.permutations(members))) + "}"


def mostly(good: tuple[str, ...], bad: tuple[str, ...]) -> st.SearchStrategy[str]:
    """One of the good ones, and now and then a bad one."""
    return st.sampled_from((*good * 20, *bad))


@st.composite
def messages(draw: st.DrawFn) -> str:
    """One message that may well be good."""
    type_ = draw(st.sampled_from((*["track"] * 4, "identify", "page", "alias", "group", "sell")))
    name = draw(st.sampled_from(("Bought", "Segment Consent Preference Updated")))
    strange = documents(1)
    members = {
        "type": f'"{type_}"',
        "event": draw(spelt(name)),
        "anonymousId": draw(mostly(('"d"',), ("null", "7", '""', f'"{"d" * 513}"'))),
        "userId": draw(mostly(('"u"', "null"), ("true", '"\\ud83d"'))),
        "previousId": '"p"',
        "groupId": '"g"',
        "timestamp": draw(st.sampled_from(TIMES).flatmap(spelt)),
        "context": draw(st.one_of(*[stamps()] * 5, strange)),
        "integrations": draw(mostly(('{"All":false,"a":true}', '{"a":false}', "{}"), ("[]", "7"))),
        "properties": draw(st.one_of(st.just("{}"), st.just("{}"), strange)),
        "writeKey": '"wk"',
    }
    kept = draw(st.sets(st.sampled_from(sorted(members)))) | {"type", "event", "anonymousId"}
    return "{" + ",".join(f'"{name}":{members[name]}' for name in sorted(kept)) + "}"


@st.composite
def nested(draw: st.DrawFn) -> str:
    """A few levels too many, or thousands."""
    levels = draw(st.sampled_from((62, 64, 65, 66, 72, 73, 200, 990, 1010, 5000)))
    left, right = draw(st.sampled_from((("[", "]"), ('{"a":', "}"), ('[1,{"":', "}]"))))
    tail = draw(st.sampled_from((right * levels, right * (levels - 1), "")))
    return '{"batch":[{"type":"page"},' + left * levels + "1" + tail + "]}"


def encoded(text: st.SearchStrategy[str]) -> st.SearchStrategy[bytes]:
    """As bytes; what is no Unicode becomes bytes that are no UTF-8."""
    return text.map(
        lambda found: found.encode(
            "utf-8", "surrogateescape" if _only_low(found) else "surrogatepass"
        )
    )


def _only_low(text: str) -> bool:
    return all(0xDC80 <= ord(c) <= 0xDCFF for c in text if 0xD800 <= ord(c) <= 0xDFFF)


def batches(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Some messages, with a context and integrations of their own, in one body."""

    def joined(parts: Any) -> str:
        found, context, integrations = parts
        shared = f',"context":{context}' if context else ""
        shared += f',"integrations":{integrations}' if integrations else ""
        return f'{{"batch":[{",".join(found)}]{shared}}}'

    given = st.none() | stamps()
    words = st.sampled_from((None, '{"All":false}', '{"a":false,"a":true}', "7"))
    return st.tuples(st.lists(inner, max_size=4), given, words).map(joined)
