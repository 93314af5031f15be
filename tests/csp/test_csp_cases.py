"""Situations: what stands in the cookie, what the application sends, what the visitor gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from consentry.csp import Category, Rules, Tag, from_file, granted, normalised
from consentry.csp.policy import extended, meets, pattern_of
from consentry.csp.response import Headers, answered, asked, visit

NOW = 1_800_000_000
RULES = Rules(
    (
        Category("necessary", essential=True),
        Category("analytics", gpc=False),
        Category("advertising"),
        Category("späße, nein"),
        Category("fresh", max_age_s=60),
        Category("renewed", since_s=NOW - 100),
    ),
    (
        Tag("shop", ("necessary",), ("cdn.shop.example",), ("cart",)),
        Tag("stats", ("analytics",), ("stats.example", "*.stats.example"), ("_st*",)),
        Tag("ads", ("advertising", "analytics"), ("*.ads.example",), ("_ad*", "__Host-ad")),
        Tag("nothing", (), ("never.example",), ("_never",)),
    ),
    own_hosts=("api.shop.example",),
)
GOOD = f"v=1&id=a&n=n1&t={NOW - 50}&g=analytics%2Cadvertising&d="

COOKIES = {
    "as the page writes it": (f"consentry={GOOD}", {"analytics", "advertising"}),
    "commas as they are": (f"consentry=v=1&id=a&t={NOW}&g=analytics,advertising", "all"),
    "beside others": (f"a=1; consentry={GOOD}; b=consentry=2", {"analytics", "advertising"}),
    "denied wins": (
        f"consentry=v=1&id=a&t={NOW}&g=analytics,advertising&d=analytics",
        {"advertising"},
    ),
    "unknown category": (f"consentry=v=1&id=a&t={NOW}&g=analytics,other", {"analytics"}),
    "essential is no grant": (f"consentry=v=1&id=a&t={NOW}&g=necessary", set()),
    "non-ASCII": (f"consentry=v=1&id=a&t={NOW}&g=sp%C3%A4%C3%9Fe,%20nein", set()),
    "no cookie": ("other=1", set()),
    "empty": ("consentry=", set()),
    "another version": (f"consentry={GOOD.replace('v=1', 'v=2')}", set()),
    "no version": (f"consentry={GOOD.replace('v=1&', '')}", set()),
    "of nobody": (f"consentry={GOOD.replace('id=a', 'id=')}", set()),
    "signal at no time": (f"consentry={GOOD}&s=soon", set()),
    "no time": (f"consentry={GOOD.replace('t=', 'x=')}", set()),
    "time in words": ("consentry=v=1&id=a&t=now&g=analytics", set()),
    "negative time": ("consentry=v=1&id=a&t=-5&g=analytics", set()),
    "digits of another script": ("consentry=v=1&id=a&t=١٨&g=analytics", set()),
    "too old": (f"consentry=v=1&id=a&t={NOW - 366 * 86_400}&g=analytics", set()),
    "a clock an hour ahead": (f"consentry=v=1&id=a&t={NOW + 3600}&g=analytics", {"analytics"}),
    "the day after tomorrow": (f"consentry=v=1&id=a&t={NOW + 2 * 86_400}&g=analytics", set()),
    "a member twice": (f"consentry={GOOD}&g=analytics", set()),
    "the cookie twice": (f"consentry={GOOD}; consentry={GOOD}", set()),
    "half an escape": (f"consentry=v=1&id=a&t={NOW}&g=analytics%2", set()),
    "no UTF-8": (f"consentry=v=1&id=a&t={NOW}&g=analytics%FF", set()),
    "quoted": (f'consentry="{GOOD}"', set()),
    "too long": (f"consentry={GOOD}&x={'x' * 5000}", set()),
    "expired category": (f"consentry=v=1&id=a&t={NOW - 61}&g=fresh,analytics", {"analytics"}),
    "category not expired": (f"consentry=v=1&id=a&t={NOW - 59}&g=fresh", {"fresh"}),
    "before consent was asked anew": (f"consentry=v=1&id=a&t={NOW - 101}&g=renewed", set()),
    "since consent was asked anew": (f"consentry=v=1&id=a&t={NOW - 100}&g=renewed", {"renewed"}),
    "another cookie's name ends so": (f"xconsentry={GOOD}", set()),
    "capitals": (f"Consentry={GOOD}", set()),
}


@pytest.mark.parametrize("name", COOKIES)
def test_what_a_cookie_grants(name: str) -> None:
    header, expected = COOKIES[name]
    expected = {"analytics", "advertising"} if expected == "all" else expected
    assert granted(RULES, [header], False, NOW) == expected


SIGNALS = {
    "never seen before": ("", True, {"analytics"}),
    "seen after the choice": (f"&s={NOW - 10}", True, {"analytics"}),
    "seen before the choice": (f"&s={NOW - 90}", True, {"analytics", "advertising"}),
    "seen with the choice": (f"&s={NOW - 50}", True, {"analytics", "advertising"}),
    "seen after the choice, and absent since": (f"&s={NOW - 10}", False, {"analytics"}),
    "never": ("&s=0", False, {"analytics", "advertising"}),
    "zero is never": ("&s=0", True, {"analytics"}),
}


@pytest.mark.parametrize("name", SIGNALS)
def test_gpc_refuses_what_it_covers_until_a_later_choice(name: str) -> None:
    more, gpc, expected = SIGNALS[name]
    assert granted(RULES, [f"consentry={GOOD}{more}"], gpc, NOW) == expected


def test_the_normalised_header_is_sorted_and_safe() -> None:
    assert (
        normalised(frozenset({"späße, nein", "analytics"})) == "analytics,sp%C3%A4%C3%9Fe%2C%20nein"
    )
    assert normalised(frozenset()) == "-"


def answer(
    cookie: str = "",
    sent: Headers | None = None,
    *,
    rules: Rules = RULES,
    status: int = 200,
    path: str = "/",
    method: str = "GET",
    **more: str,
) -> Headers:
    """What the visitor gets; the page is HTML unless ``sent`` says more."""
    headers = [("Host", "www.shop.example:8000"), ("Cookie", cookie)]
    headers += [(name.replace("_", "-"), value) for name, value in more.items()]
    seen = visit(rules, headers, method=method, path=path, scheme="https", now_s=NOW, nonce="abc")
    given = [("content-type", "text/html; charset=utf-8")] if sent is None else sent
    return answered(rules, seen, status, given)


def values(headers: Headers, name: str) -> list[str]:
    return [value for each, value in headers if each.lower() == name]


def csp(headers: Headers) -> list[str]:
    return values(headers, "content-security-policy")


YES = f"consentry={GOOD}"
HTML = ("content-type", "text/html")
STATS = "stats.example wss://stats.example *.stats.example wss://*.stats.example"
ADS = "*.ads.example wss://*.ads.example"
OWN = "api.shop.example wss://api.shop.example"
SHOP = "cdn.shop.example wss://cdn.shop.example"
HARMLESS = "'unsafe-inline' 'unsafe-eval' data: blob:"


def consent(*sources: str) -> str:
    listed = " ".join(s for s in sources if s)
    plain = " ".join(s for s in listed.split() if not s.startswith("wss:"))
    return f"default-src 'self' {HARMLESS} {listed}; form-action 'self' {plain}"


def test_an_application_without_a_policy() -> None:
    assert csp(answer()) == [consent(OWN, SHOP)]
    assert csp(answer(YES)) == [consent(OWN, SHOP, STATS, ADS)]
    only = f"consentry=v=1&id=a&t={NOW}&g=advertising&d=analytics"
    assert csp(answer(only)) == [consent(OWN, SHOP)], "a tag needs all of its categories"


MERGED = {
    "hosts of granted tags are added": ("script-src 'self'", "script-src 'self' a.example"),
    "none is the last word": ("object-src 'none'; img-src b.example", "object-src 'none'; img-src b.example a.example"),
    "an empty list is none": ("connect-src", "connect-src"),
    "default none asks for each": (
        "default-src 'none'; script-src 'nonce-x'",
        "default-src 'none'; script-src 'nonce-x' a.example; style-src a.example; "
        "img-src a.example; connect-src a.example wss://a.example; font-src a.example; media-src a.example; "
        "frame-src a.example",
    ),
    "what is there is not repeated": ("img-src a.example", "img-src a.example"),
    "others are left alone": (
        "base-uri 'none'; frame-ancestors b.example; sandbox allow-scripts; report-uri /r",
        "base-uri 'none'; frame-ancestors b.example; sandbox allow-scripts; report-uri /r",
    ),
    "the first of two counts": ("img-src b.example; img-src c.example", "img-src b.example a.example"),
    "capitals": ("IMG-SRC 'NONE'; Script-Src 'self'", "img-src 'NONE'; script-src 'self' a.example"),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGED)
def test_a_policy_of_the_application_is_extended(name: str) -> None:
    before, after = MERGED[name]
    assert extended(before, ["a.example"], True) == after
    assert extended(before, [], True) == before


def test_the_policy_of_the_application_is_kept_and_the_second_narrows_it() -> None:
    own = "default-src 'self' https: x.ads.example pics.example:8443/a 'nonce-q' 'strict-dynamic'"
    sent = [HTML, ("Content-Security-Policy", own)]
    first, second = csp(answer("", sent))
    assert first == f"{own} {SHOP}"
    assert second == consent(OWN, SHOP, "pics.example:8443/a")
    first, second = csp(answer(YES, sent))
    assert first == f"{own} {SHOP} {STATS} {ADS}"
    everything = Rules(RULES.categories, RULES.tags[:3], own_hosts=RULES.own_hosts)
    _, second = csp(answer(YES, sent, rules=everything))
    wide = "https: x.ads.example pics.example:8443/a"
    assert second == consent(OWN, SHOP, STATS, ADS, wide), "nothing is refused: https: may stay"


def test_several_policies_in_one_header_and_in_two() -> None:
    sent = [HTML, ("content-security-policy", "img-src *, font-src f.example"), ("Content-Security-Policy", "media-src m.example")]  # fmt: skip
    found = csp(answer("", sent))
    assert [policy.partition(" ")[0] for policy in found] == ["img-src", "font-src", "media-src", "default-src"]  # fmt: skip
    assert found[-1] == consent(OWN, SHOP, "f.example", "m.example")


def test_two_tags_of_one_name_are_two_tags() -> None:
    tags = (Tag("t", ("advertising",), ("ads.example",)), Tag("t", ("necessary",), ("c.example",)))
    assert csp(answer("", rules=Rules(RULES.categories, tags))) == [
        consent("c.example wss://c.example")
    ]


def test_base_is_used_where_the_application_sends_none() -> None:
    rules = Rules(RULES.categories, RULES.tags, base="script-src {nonce}")
    assert csp(answer(rules=rules))[0] == "script-src 'nonce-abc' cdn.shop.example"
    sent = [HTML, ("Content-Security-Policy", "img-src 'self'")]
    assert csp(answer("", sent, rules=rules))[0] == "img-src 'self' cdn.shop.example"


def test_reports() -> None:
    rules = Rules(
        RULES.categories, RULES.tags, report_url="https://c.example/v1/csp-reports?key=wk"
    )
    headers = answer(rules=rules)
    end = "; report-uri https://c.example/v1/csp-reports?key=wk; report-to consentry"
    assert csp(headers) == [consent(SHOP) + end]
    assert values(headers, "reporting-endpoints") == [
        'consentry="https://c.example/v1/csp-reports?key=wk"'
    ]


def test_report_only_blocks_nothing_and_the_twin_tells_of_unknown_hosts() -> None:
    only = "content-security-policy-report-only"
    rules = Rules(RULES.categories, RULES.tags, report_only=True)
    assert (csp(answer(rules=rules)), values(answer(rules=rules), only)) == ([], [consent(SHOP)])
    twin = Rules(RULES.categories, RULES.tags[:3], twin=True)
    headers = answer(
        YES, [HTML, ("Content-Security-Policy", "img-src https: p.example")], rules=twin
    )
    assert csp(headers)[1] == consent(SHOP, STATS, ADS, "https:", "p.example")
    assert values(headers, only) == [consent(SHOP, STATS, ADS, "p.example")]


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


# -- caches ---------------------------------------------------------------------------------------
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


# -- cookies --------------------------------------------------------------------------------------
def test_cookies_of_refused_tags_are_taken_away() -> None:
    jar = f"{YES.replace('%2Cadvertising', '')}; cart=1; _st1=2; _ad_id=3; __Host-ad=4; _never=5; x_ad=6"
    found = values(answer(jar), "set-cookie")
    gone = "Max-Age=0; Path=/; Secure"
    domains = ["www.shop.example", "shop.example"]
    expected = [f"__Host-ad=; {gone}"]
    for name in ("_ad_id", "_never"):
        expected += [f"{name}=; {gone}", *(f"{name}=; {gone}; Domain={d}" for d in domains)]
    assert sorted(found) == sorted(expected)
    assert values(answer(jar, [("Content-Type", "image/png")]), "set-cookie") == []


def test_the_application_cannot_set_what_was_refused() -> None:
    sent = [HTML, ("Set-Cookie", "_ad=1; Path=/"), ("set-cookie", "cart=2"), ("Set-Cookie", "_ad=; Max-Age=0")]  # fmt: skip
    assert values(answer("", sent), "set-cookie") == ["cart=2", "_ad=; Max-Age=0"]
    assert values(answer(YES, sent), "set-cookie") == ["_ad=1; Path=/", "cart=2", "_ad=; Max-Age=0"]
    image = [("Content-Type", "image/gif"), ("Set-Cookie", "_ad=1")]
    assert answer("", image) == image[:1]


def test_the_consent_cookie_itself_is_never_touched() -> None:
    rules = Rules(RULES.categories, (Tag("all", ("advertising",), (), ("*",)),))
    sent = [HTML, ("Set-Cookie", "consentry=v=1"), ("Set-Cookie", "other=1")]
    headers = answer("consentry=broken; other=1", sent, rules=rules)
    assert [v.partition("=")[0] for v in values(headers, "set-cookie")] == [
        "consentry",
        *["other"] * 3,
    ]


def test_a_cookie_that_a_granted_tag_sets_too_is_kept() -> None:
    tags = (Tag("ads", ("advertising",), (), ("_g*",)), Tag("stats", ("analytics",), (), ("_ga",)))
    jar = f"consentry=v=1&id=a&t={NOW}&g=analytics; _ga=1; _gcl=2"
    found = values(answer(jar, rules=Rules(RULES.categories, tags)), "set-cookie")
    assert {value.partition("=")[0] for value in found} == {"_gcl"}


def test_the_hosts_of_an_advanced_tag_are_open_and_its_cookies_are_not() -> None:
    tags = (Tag("ads", ("advertising",), ("ads.example",), ("_ad",), advanced=True),)
    headers = answer("_ad=1", rules=Rules(RULES.categories, tags))
    assert csp(headers) == [consent("ads.example wss://ads.example")]
    assert values(headers, "set-cookie")


def test_a_shared_answer_takes_no_cookie_away() -> None:
    rules = Rules(RULES.categories, RULES.tags, shared_caches=True)
    sent = [HTML, ("Cache-Control", "max-age=9")]
    headers = answer("_ad=1", sent, rules=rules, Consentry_Granted="-")
    assert values(headers, "cache-control") == ["private, no-cache"]


def test_hostile_cookie_names_reach_no_header() -> None:
    rules = Rules(RULES.categories, (Tag("all", ("advertising",), (), ("*",)),))
    for jar in ("a\r\nb=1", "a b=1", "ä=1", "=1"):
        assert values(answer(jar, rules=rules), "set-cookie") == []


@pytest.mark.parametrize("host", ["[::1]:80", "127.0.0.1", "localhost", "x..y", "a;b", ""])
def test_a_host_that_has_no_parents(host: str) -> None:
    headers = [("Host", host), ("Cookie", "_ad=1")]
    seen = visit(RULES, headers, method="GET", path="/", scheme="http", now_s=NOW, nonce="n")
    assert values(answered(RULES, seen, 200, [HTML]), "set-cookie") == ["_ad=; Max-Age=0; Path=/"]


# -- what is refused at the start -----------------------------------------------------------------
BAD_HOSTS = ["", "*", "https://a.example", "a.example/x", "a.example;img-src *", "a b", "a\nb", "A.example", "ä.example", "*.*.example", "a.example:x", "'self'", "a," + "b", "x" * 254]  # fmt: skip


@pytest.mark.parametrize("host", BAD_HOSTS)
def test_no_text_but_a_host_reaches_a_header(host: str) -> None:
    with pytest.raises(ValueError, match="must be a host"):
        Rules(tags=(Tag("t", (), (host,)),))
    with pytest.raises(ValueError, match="must be a host"):
        Rules(own_hosts=(host,))


@pytest.mark.parametrize(
    "more",
    [
        {"base": "img-src *\r\nx: y"},
        {"base": "img-src *, script-src *"},
        {"report_url": "javascript:alert(1)"},
        {"report_url": "https://a.example/;x"},
        {"report_url": "https://a.example/ x"},
        {"report_url": '/a"b'},
        {"report_url": "//a.example/x"},
        {"report_url": "x"},
        {"categories": (Category("a"), Category("a", essential=True))},
        {"silence": frozenset({"advertising"})},
        {"max_age_days": 0},
        {"max_age_days": 401},
    ],
)
def test_what_is_wrong_in_the_rules_is_said_at_once(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(more))):
        Rules(**more)  # type: ignore[arg-type]


PATTERNS = {
    "*": "*",
    "https:": "*",
    "http://*": "*",
    "*:443": "*",
    "https://a.example": "a.example",
    "https://a.example:*/x": "a.example",
    "*.a.example": "*.a.example",
    "'self'": None,
    "a..b": None,
}


@pytest.mark.parametrize("source", PATTERNS)
def test_the_hosts_that_a_source_matches(source: str) -> None:
    assert pattern_of(source) == PATTERNS[source]


MEETINGS = [
    ("a.example", "a.example", True),
    ("a.example", "b.example", False),
    ("*.example", "a.example", True),
    ("*.a.example", "a.example", False),
    ("*.a.example", "*.example", True),
    ("*.a.example", "*.b.example", False),
    ("ba.example", "*.a.example", False),
    ("*", "a.example", True),
    ("a.example:8443", "a.example", True),
]


@pytest.mark.parametrize(("left", "right", "expected"), MEETINGS)
def test_when_two_patterns_meet(left: str, right: str, expected: bool) -> None:
    assert meets(left, right) is meets(right, left) is expected


CONFIG = """
[workspace]
name = "Acme"
max_age_days = 180
[[category]]
id = "necessary"
essential = true
[[category]]
id = "analytics"
gpc = false
max_age_days = 30
requires_consent_since = 2026-01-31T00:00:00Z
[[category]]
id = "off"
enabled = false
[[tag]]
name = "stats"
categories = ["analytics", "off"]
hosts = ["Stats.example"]
cookies = ["_st*"]
[[tag]]
name = "gone"
categories = ["off"]
hosts = ["gone.example"]
[server]
base_url = "https://consent.shop.example:8443"
admin_key = "env:NOT_SET"
"""


def test_the_rules_are_read_from_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "consentry.toml"
    file.write_text(CONFIG)
    rules = from_file(file, own_hosts=("cdn.shop.example",), twin=True)
    assert rules.categories == (
        Category("necessary", essential=True, gpc=False),
        Category("analytics", gpc=False, max_age_s=30 * 86_400, since_s=1_769_817_600),
    )
    assert rules.tags == (
        Tag("stats", ("analytics",), ("stats.example",), ("_st*",)),
        Tag("gone", (), ("gone.example",)),
    )
    assert rules.own_hosts == ("consent.shop.example:8443", "cdn.shop.example")
    assert (rules.max_age_days, rules.twin) == (180, True)


def test_an_application_loads_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, consentry.csp\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)))\n"
        "print(sorted(m for m in sys.modules if m.startswith('consentry.') and 'csp' not in m))"
    )
    ran = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(Path(__file__).parents[2] / "src")}, check=True)  # fmt: skip
    assert ran.stdout.splitlines() == ["['__main__', 'consentry']", "[]"]
