"""Reports as browsers and the guard send them, and how little of them is kept."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.leak import (
    LONGEST_PATH,
    MOST_SEGMENTS,
    Leak,
    Via,
    from_browser,
    from_guard,
    host_of,
    names_host,
    page_of,
)

PAGE = "https://shop.example/cart?email=ann@shop.example#x"


def old(blocked: str, directive: str = "img-src", **more: Any) -> dict[str, Any]:
    inner = {"document-uri": PAGE, "blocked-uri": blocked, "effective-directive": directive, **more}
    return {"csp-report": inner}


def new(blocked: str, directive: str = "img-src", **more: Any) -> dict[str, Any]:
    body = {"documentURL": PAGE, "blockedURL": blocked, "effectiveDirective": directive, **more}
    return {"type": "csp-violation", "age": 1, "url": PAGE, "user_agent": "x", "body": body}


ADS = Leak("ads.example", "image", "/cart", Via.CSP, True)
REPORTS: dict[str, tuple[Any, Leak | None]] = {
    "CSP 2": (old("https://ads.example/p.gif?id=7"), ADS),
    "Reporting API": (new("https://ads.example"), ADS),
    "with a port": (new("http://Ads.example:8080/x"), ADS),
    "told only": (new("https://ads.example/x", disposition="report"), Leak("ads.example", "image", "/cart", Via.CSP, False)),
    "enforced": (new("https://ads.example/x", disposition="enforce"), ADS),
    "violated-directive": ({"csp-report": {"document-uri": PAGE, "blocked-uri": "https://ads.example", "violated-directive": "script-src-elem 'self'"}}, Leak("ads.example", "script", "/cart", Via.CSP, True)),
    "no page": (old("https://ads.example", **{"document-uri": None}), Leak("ads.example", "image", "", Via.CSP, True)),
    "inline": (old("inline", "script-src-elem"), None),
    "eval": (new("eval", "script-src"), None),
    "data": (old("data"), None),
    "blob": (old("blob:https://shop.example/1"), None),
    "the site itself": (old("https://shop.example/other"), None),
    "no request": (old("https://ads.example", "frame-ancestors"), None),
    "another report": ({"type": "deprecation", "body": {}}, None),
    "text": ("https://ads.example", None),
    "nothing": ({}, None),
    "numbers": (old(7, 7), None),  # type: ignore[arg-type]
    "empty directive": (old("https://ads.example", ""), None),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_of_a_browser(name: str) -> None:
    report, expected = REPORTS[name]
    assert from_browser(report) == expected


def test_a_report_of_the_guard() -> None:
    assert from_guard("Ads.Example", "beacon") == Leak("ads.example", "beacon", "", Via.GUARD, True)
    found = from_guard("ads.example:8443", "Not A Kind", "/cart/77?x=1")
    assert found == Leak("ads.example", "other", "/cart/77", Via.GUARD, True)
    assert from_guard("a b", "image") is None
    assert from_guard("", "image") is None


PATHS = {
    PAGE: "/cart",
    "https://shop.example": "",
    "https://shop.example/": "/",
    "https://shop.example/a/b.html": "/a/b.html",
    "https://shop.example/orders/1234": "/orders/1234",
    "https://shop.example/orders/123456": "/orders/*",
    "https://shop.example/users/ann@shop.example/edit": "/users/*/edit",
    "https://shop.example/users/ann%40shop.example": "/users/*",
    "https://shop.example/u/8f14e45fceea167a": "/u/*",
    "https://shop.example/Müller/x": "/*/x",
    "https://shop.example/a%2Fann%40x.example/b": "/*/b",
    "/only/a/path?x": "/only/a/path",
    "about:srcdoc": "",
    "https://shop.example/" + "a/" * 40: "/a" * MOST_SEGMENTS + "/*",
}


@pytest.mark.parametrize("url", PATHS)
def test_of_a_page_its_shape_is_kept(url: str) -> None:
    assert page_of(url) == PATHS[url]


@given(st.text(), st.text())
def test_whatever_is_told_little_is_kept(blocked: str, document: str) -> None:
    for url in (blocked, f"https://{blocked}", f"https://shop.example/{document}"):
        page = page_of(url)
        assert len(page) <= LONGEST_PATH
        assert "@" not in page
        assert "?" not in page
        host = host_of(url)
        assert host is None or (host == host.lower() and "/" not in host and len(host) <= 253)
    from_browser(old(blocked, "img-src", **{"document-uri": document}))


def test_which_tag_names_a_host() -> None:
    assert names_host("ads.example", "ads.example")
    assert not names_host("ads.example", "x.ads.example")
    assert names_host("*.ads.example", "x.y.ads.example")
    assert not names_host("*.ads.example", "ads.example")
    assert not names_host("*.ads.example", "xads.example")
    assert names_host("ads.example:8443", "ads.example")
