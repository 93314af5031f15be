"""Which responses have a policy, and what caches may do with them."""

from __future__ import annotations

import pytest

from consentry.csp import Rules
from consentry.csp.response import Headers, asked, visit
from tests.csp.asked import (
    HTML,
    NOW,
    RULES,
    YES,
    answer,
    csp,
    values,
)

KINDS = {
    "text/html": True,
    "TEXT/HTML;charset=utf-8": True,
    "application/xhtml+xml": True,
    "image/svg+xml": True,
    "text/xml": True,
    "text/javascript": True,
    "application/javascript; charset=utf-8": True,
    "": True,
    "image/png": False,
    "application/json": False,
    "text/css": False,
    "text/plain": False,
    "text/event-stream": False,
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_becomes_a_document_or_a_worker_has_a_policy(kind: str) -> None:
    sent = [("Content-Type", kind)] if kind else []
    headers = answer("", sent)
    assert bool(csp(headers)) is KINDS[kind]
    if not KINDS[kind]:
        assert headers == sent


@pytest.mark.parametrize("status", [200, 206, 404, 500])
def test_error_pages_have_it_too(status: int) -> None:
    assert csp(answer(status=status))


@pytest.mark.parametrize("status", [204, 301, 303, 304])
def test_what_has_no_page_has_none(status: int) -> None:
    assert answer(status=status) == [("content-type", "text/html; charset=utf-8")]


def test_a_script_of_the_page_is_left_alone_and_a_worker_is_not() -> None:
    script = [("Content-Type", "text/javascript"), ("Cache-Control", "public, max-age=9")]
    headers = answer("", script, Sec_Fetch_Dest="script")
    assert headers == [*script, ("Vary", "Sec-Fetch-Dest")]
    assert csp(answer("", script, Sec_Fetch_Dest="worker"))
    assert csp(answer("", script)), "who does not say what it is for may be a worker"


def test_skipped_paths_are_left_alone_but_for_cookies() -> None:
    rules = Rules(RULES.categories, RULES.tags, skip=("/static/",))
    sent = [("Content-Type", "text/html"), ("Set-Cookie", "_ad=1")]
    assert answer("", sent, rules=rules, path="/static/x") == sent[:1]
    assert csp(answer("", sent, rules=rules, path="/statically"))


CACHED = {
    "nothing said": ("", "private, no-cache", "private, no-cache"),
    "shared": ("public, max-age=600", "private, no-cache", "public, max-age=0, must-revalidate, s-maxage=600"),
    "for shared ones": ("max-age=5, s-maxage=70", "private, no-cache", "public, max-age=0, must-revalidate, s-maxage=70"),
    "private": ("private, max-age=60", "private, no-cache", "private, no-cache"),
    "no-store": ("no-store, max-age=5", "no-store", "no-store"),
    "no-cache": ("no-cache", "private, no-cache", "private, no-cache"),
    "zero": ("max-age=0", "private, no-cache", "private, no-cache"),
    "stale": ("max-age=9, stale-while-revalidate=99", "private, no-cache", "public, max-age=0, must-revalidate, s-maxage=9"),
    "no-transform": ("no-transform, max-age=9", "private, no-cache, no-transform", "public, max-age=0, must-revalidate, s-maxage=9, no-transform"),
    "quoted": ('private="x, max-age=9", max-age=9', "private, no-cache", "private, no-cache"),
    "no number": ("max-age=soon", "private, no-cache", "private, no-cache"),
}  # fmt: skip


@pytest.mark.parametrize("name", CACHED)
def test_what_caches_may_do(name: str) -> None:
    said, alone, behind = CACHED[name]
    sent = [HTML, *([("Cache-Control", said)] if said else [])]
    headers = answer(YES, sent)
    assert values(headers, "cache-control") == [alone]
    assert values(headers, "vary") == ["Consentry-Granted"]
    rules = Rules(RULES.categories, RULES.tags, shared_caches=True)
    keyed = {"Consentry_Granted": "advertising,analytics"}
    assert values(answer(YES, sent, rules=rules, **keyed), "cache-control") == [behind]
    for wrong in ({}, {"Consentry_Granted": "-"}, {"Consentry_Granted": "analytics,advertising"}):
        headers = answer(YES, sent, rules=rules, **wrong)
        assert values(headers, "cache-control") == [alone], "the edge has another key"
    assert values(answer(YES, sent, **keyed), "cache-control") == [alone], (
        "nobody said there is one"
    )


def test_what_shared_caches_obey_first_is_taken_away() -> None:
    told = [("CDN-Cache-Control", "max-age=9"), ("Surrogate-Control", "max-age=9"), ("Expires", "Thu"), ("Pragma", "x")]  # fmt: skip
    headers = answer("", [HTML, *told])
    assert {name.lower() for name, _ in headers} == {"content-type", "content-security-policy", "cache-control", "vary"}  # fmt: skip


def test_vary_is_kept() -> None:
    assert values(answer("", [HTML, ("Vary", "Accept, Cookie"), ("vary", "Origin")]), "vary") == ["Accept, Cookie, Origin, Consentry-Granted"]  # fmt: skip
    assert values(answer("", [HTML, ("Vary", "*")]), "vary") == ["*"]


def test_a_validator_belongs_to_a_choice() -> None:
    sent = [HTML, ("ETag", '"v7"'), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")]
    headers = answer(YES, sent)
    (tag,) = values(headers, "etag")
    assert tag.startswith('"v7-cg')
    assert values(headers, "last-modified") == []
    since = ("If-Modified-Since", "Thu, 01 Jan 2026 00:00:00 GMT")

    def reaches(cookie: str, *more: tuple[str, str], method: str = "GET", dest: str = "document") -> Headers:  # fmt: skip
        given = [("Cookie", cookie), ("Sec-Fetch-Dest", dest), *more]
        seen = visit(RULES, given, method=method, path="/", scheme="https", now_s=NOW, nonce="n")
        left = asked(seen, given)
        return [p for p in left if p[0].lower() in ("if-none-match", "if-modified-since", "if-match", "if-range", "range")]  # fmt: skip

    assert reaches(YES, ("If-None-Match", tag), since) == [("If-None-Match", '"v7"')]
    assert reaches(YES, ("If-None-Match", f'"x", {tag}')) == [("If-None-Match", '"v7"')]
    assert reaches("", ("If-None-Match", tag), since) == []
    assert reaches(YES, ("If-None-Match", '"v7"'), since) == [], "from before there was a policy"
    image = ("If-None-Match", '"v7"'), since
    assert reaches(YES, *image, dest="image") == list(image)
    assert reaches("", ("If-Match", tag), method="PUT") == [("If-Match", '"v7"')]
    assert reaches("", ("If-None-Match", "*"), method="PUT") == [("If-None-Match", "*")]
    assert reaches("", ("If-Range", tag), ("Range", "bytes=0-5")) == []
    assert reaches(YES, ("If-Range", tag), ("Range", "bytes=0-5")) == [("If-Range", '"v7"'), ("Range", "bytes=0-5")]  # fmt: skip
    headers = answer(YES, [("ETag", '"v7"')], status=304, If_None_Match=tag)
    assert csp(headers)
    assert values(headers, "etag") == [tag]
