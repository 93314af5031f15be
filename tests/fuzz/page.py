"""The parsers of what pages send: the consent cookie, and reports of what tried to leave."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

from hypothesis import strategies as st

from consentry.core.leak import LONGEST_HOST, LONGEST_PATH, Leak, counted, from_browser
from consentry.csp import cookie as cookies
from consentry.csp.cookie import Claim
from consentry.web import reports
from consentry.web.problems import Problem
from tests.fuzz.parser import Parser, calls

_PATH = re.compile(r"(?:/(?:\*|[A-Za-z][A-Za-z_.~-]{0,39}|[0-9]{1,4})?)*")


# -- the cookie -----------------------------------------------------------------------------------
def check_cookie(data: bytes, read: Callable[[str], Claim | None] = cookies.read) -> str:
    """The value of one consent cookie."""
    text = data.decode("latin-1")
    found = read(text)
    if found is None:
        return "nothing"
    members = _by_the_book(text)
    assert members is not None, "what is unreadable was read"
    assert members["v"] == "1"
    said = {each for each in members["g"].split(",") if each}
    assert found.granted <= said, "more is granted than stands there"
    assert found.denied >= {each for each in members.get("d", "").split(",") if each}
    assert str(found.at_s) == (members["t"].lstrip("0") or "0"), "another time"
    return "granted" if found.granted - found.denied else "read"


def _by_the_book(text: str) -> dict[str, str] | None:
    """As the page reads it: no member twice, and each escape is whole and UTF-8."""
    names = [part.partition("=")[0] for part in text.split("&")]
    if len(set(names)) < len(names) or re.search(r"%(?![0-9A-Fa-f]{2})", text):
        return None
    try:
        pairs = (part.partition("=") for part in text.split("&"))
        return {name: unquote(value, errors="strict") for name, _, value in pairs}
    except UnicodeDecodeError:
        return None


_ids = st.lists(st.sampled_from(("analytics", "ads", "späße", "a b", "")), max_size=3)
_members = st.one_of(
    st.tuples(st.sampled_from("gd"), _ids.map(lambda ids: quote(",".join(ids), safe=""))),
    st.tuples(st.sampled_from("ts"), st.sampled_from(("1800000000", "0", "", "-1", "9" * 20, "x"))),
    st.tuples(st.just("v"), st.sampled_from(("1", "2", "", "1%30"))),
    st.tuples(st.just("id"), st.sampled_from(("a-1", "", "%FF", "%"))),
)
values = st.lists(_members, max_size=7).map(lambda m: "&".join("=".join(pair) for pair in m))
good = st.tuples(_ids, _ids).map(lambda ids: f"v=1&id=a&n=n&t=1800000000&g={quote(','.join(ids[0]))}&d={','.join(quote(i) for i in ids[1])}")  # fmt: skip


# -- reports --------------------------------------------------------------------------------------
def _read(data: bytes) -> tuple[dict[Leak, int], int]:
    value = reports.read(data)
    if isinstance(value, dict) and "leaks" in value:
        return reports.held_back(reports.convert(value, reports.HeldBack).leaks)
    return counted(map(from_browser, reports.listed(value)))


def check_report(data: bytes, read: Callable[[bytes], tuple[dict[Leak, int], int]] = _read) -> str:
    """The body of a report: little of it is kept, whatever it says."""
    try:
        leaks, ignored = calls(20_000 + 60 * len(data), lambda: read(data))
    except Problem as problem:
        assert problem.status == 400, problem.status
        return problem.code
    for leak in leaks:
        assert len(leak.host) <= LONGEST_HOST
        assert re.fullmatch(r"[a-z0-9_.-]+", leak.host), leak.host
        assert len(leak.kind) <= 20
        assert len(leak.page) <= LONGEST_PATH
        assert _PATH.fullmatch(leak.page), leak.page
    return "+".join(sorted({leak.via.value for leak in leaks})) or f"ignored {bool(ignored)}"


_urls = st.sampled_from(
    ("https://ads.example/p?u=7", "https://ads.example", "inline", "data", "", "//x", "https://[::1/",
     "https://shop.example/u/ann%40x.example?q=1", "https://u:p@ads.example:8443/", "wss://a/", None, 7,
     "https://shop.example/" + "a/" * 300, "about:srcdoc", "https://" + "a." * 200, "https://ä.example")
)  # fmt: skip
_directives = st.sampled_from(
    ("img-src", "script-src-elem 'self'", "frame-ancestors", "", None, [])
)
_old = st.fixed_dictionaries(
    {"blocked-uri": _urls, "document-uri": _urls, "effective-directive": _directives}
).map(lambda told: {"csp-report": told})
_new = st.fixed_dictionaries(
    {"blockedURL": _urls, "documentURL": _urls, "effectiveDirective": _directives},
    optional={"disposition": st.sampled_from(("report", "enforce", 1))},
).map(lambda told: {"type": "csp-violation", "body": told})
_held = st.fixed_dictionaries(
    {"host": st.sampled_from(("ads.example", "a b", "", "x" * 300)), "kind": st.sampled_from(("image", "Bad kind", ""))},
    optional={"page": _urls, "count": st.sampled_from((1, 0, 10**9, "1"))},
)  # fmt: skip
_bodies = st.one_of(
    _old,
    st.lists(_new, max_size=4),
    st.lists(_held, max_size=3).map(lambda found: {"leaks": found}),
    st.just([{}] * 200),
).map(lambda value: json.dumps(value).encode())


PARSERS = (
    Parser("consent_cookie", check_cookie, (values | good).map(lambda t: t.encode("latin-1"))),
    Parser("report", check_report, _bodies),
)


# -- parsers broken on purpose ----------------------------------------------------------------------
def last_member_wins(text: str) -> Claim | None:
    """Of a member that stands twice the last counts."""
    members: dict[str, Any] = dict(part.split("=", 1) for part in text.split("&") if "=" in part)
    return cookies.read("&".join(f"{name}={value}" for name, value in members.items()))


def mends_escapes(text: str) -> Claim | None:
    """What is no escape is taken as it stands."""
    return cookies.read(re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", text))


def keeps_the_page(data: bytes) -> tuple[dict[Leak, int], int]:
    """The whole address of the page is kept."""
    leaks, ignored = _read(data)
    value = reports.read(data)
    inner = value.get("csp-report", {}) if isinstance(value, dict) else {}
    page = str(inner.get("document-uri", ""))
    return {Leak(k.host, k.kind, page, k.via, k.stopped): n for k, n in leaks.items()}, ignored
