"""What stands in the cookie, and what it grants; the cookies of tags that are refused."""

from __future__ import annotations

import pytest

from consentry.csp import Rules, Tag, granted, normalised
from consentry.csp.response import answered, visit
from tests.csp.asked import (
    GOOD,
    HTML,
    NOW,
    RULES,
    YES,
    answer,
    consent,
    csp,
    values,
)

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


def test_cookies_of_refused_tags_are_taken_away() -> None:
    jar = f"{YES.replace('%2Cadvertising', '')}; cart=1; _st1=2; _ad_id=3; __Host-ad=4; _never=5; x_ad=6"
    found = values(answer(jar), "set-cookie")
    domains = ["", "; Domain=www.shop.example", "; Domain=shop.example"]
    expected = []
    for gone in ("Max-Age=0; Path=/; Secure", "Max-Age=0; Path=/; Secure; Partitioned"):
        expected.append(f"__Host-ad=; {gone}")
        expected += [f"{name}=; {gone}{d}" for name in ("_ad_id", "_never") for d in domains]
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
        *["other"] * 6,
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
    gone = "_ad=; Max-Age=0; Path=/"
    assert values(answered(RULES, seen, 200, [HTML]), "set-cookie") == [
        gone,
        f"{gone}; Secure; Partitioned",
    ]
