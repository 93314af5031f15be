"""Whatever strangers and applications send: the policy is there, whole, and nothing breaks."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from consentry.csp import AsgiMiddleware, Category, Rules, Tag
from consentry.csp.policy import parse

RULES = Rules(
    (Category("necessary", essential=True), Category("ads")),
    (
        Tag("shop", ("necessary",), ("cdn.example",), ("cart",)),
        Tag("ads", ("ads",), ("ads.example", "*.ads.example"), ("*",)),
    ),
    report_url="/v1/csp-reports?key=wk",
    twin=True,
    shared_caches=True,
)
ASKED = ("cookie", "host", "sec-gpc", "sec-fetch-dest", "if-none-match", "if-match", "if-range")
ASKED += ("range", "if-modified-since", "consentry-granted", "x")
ANSWERED = ("content-type", "content-security-policy", "content-security-policy-report-only")
ANSWERED += ("cache-control", "etag", "vary", "set-cookie", "last-modified", "expires")
PIECES = ["consentry=", "v=1&id=a&t=1&g=ads", "; ", "ads=1", "__Host-x=1", ".", ":", "shop.example", "text/html", '"x-cg00000000"', "W/", "*", "max-age=9", "public", ",", "default-src", "'none'", "https:", "ads.example", ";", "\u00ff", "%", "%zz", "="]  # fmt: skip
text = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
values = st.one_of(
    text.map(lambda t: t.encode("latin-1")),
    st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n\0")),
)


def headers(names: tuple[str, ...]) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    pairs = st.tuples(st.sampled_from(names).map(str.encode), values)
    return st.lists(pairs, max_size=6)


def through(asked: list[Any], answered: list[Any], status: int, method: str) -> list[Any]:
    """The headers that leave, and a check that the application was reached."""
    sent: list[Any] = []
    reached: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        reached.extend(scope["headers"])
        await send({"type": "http.response.start", "status": status, "headers": answered})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": "/", "scheme": "https", "headers": asked}
    asyncio.run(AsgiMiddleware(app, RULES)(scope, None, send))  # type: ignore[arg-type]
    assert [name for name, _ in reached].count(b"consentry-granted") == 1
    assert [m["type"] for m in sent] == ["http.response.start", "http.response.body"]
    found: list[Any] = sent[0]["headers"]
    return found


@given(
    headers(ASKED),
    headers(ANSWERED),
    st.sampled_from([200, 206, 304, 404, 500]),
    st.sampled_from(["GET", "HEAD", "POST", "PUT"]),
)
def test_nothing_breaks_and_what_is_html_has_a_policy(
    asked: list[Any], answered: list[Any], status: int, method: str
) -> None:
    found = through(asked, answered, status, method)
    assert not any(c in name + value for name, value in found for c in (b"\r", b"\n", b"\0"))
    types = [value for name, value in answered if name == b"content-type"]
    policies = [v.decode("latin-1") for n, v in found if n == b"content-security-policy"]
    if status == 304 or types not in ([b"text/html"], []):
        return
    ours = policies[-1]
    sources = dict(parse(ours))["default-src"]
    assert "'self'" in sources
    assert "cdn.example" in sources
    assert ours.endswith("; report-uri /v1/csp-reports?key=wk; report-to consentry")
    # The cookie in these pieces is dated 1970.
    assert not any("ads.example" in source and not source.startswith("cdn.") for source in sources)
    (cached,) = [value for name, value in found if name == b"cache-control"]
    assert cached in (b"no-store", b"private, no-cache") or cached.startswith(b"public, max-age=0")
    assert all(n != b"last-modified" and n != b"expires" for n, _ in found)
