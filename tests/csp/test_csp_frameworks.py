"""The two wrappers around real applications: Starlette, FastAPI, Django and Flask."""

from __future__ import annotations

import re
import time

import pytest

from consentry.csp import Category, Rules, Tag
from tests.csp.shops import ETAG, OWN, SHOPS, Ask

RULES = Rules(
    (Category("analytics", gpc=False), Category("advertising")),
    (
        Tag("stats", ("analytics",), ("stats.example",), ("_st",)),
        Tag("ads", ("advertising",), ("ads.example",), ("_ad",)),
    ),
)
YES = f"consentry=v=1&id=a&n=n&t={int(time.time())}&g=analytics&d=advertising"


@pytest.fixture(params=SHOPS)
def shop(request: pytest.FixtureRequest) -> Ask:
    return SHOPS[request.param](RULES)


def test_the_policy_follows_the_cookie(shop: Ask) -> None:
    (before,) = shop("/page").all("content-security-policy")
    (after,) = shop("/page", cookie=YES).all("content-security-policy")
    assert ("stats.example" in before, "stats.example" in after) == (False, True)
    assert "ads.example" not in after
    assert "form-action 'self'" in before


def test_the_application_gets_a_nonce_and_the_normalised_header(shop: Ask) -> None:
    first = shop("/page", cookie=YES, consentry_granted="advertising").body.decode()
    second = shop("/page", consentry_granted="advertising").body.decode()
    found = [re.fullmatch(r"nonce=([A-Za-z0-9_-]{22}) granted=(\S+)", text) for text in (first, second)]  # fmt: skip
    assert all(found), (first, second)
    (one, granted), (two, none) = (match.groups() for match in found if match)
    assert one != two
    assert (granted, none) == ("analytics", "-")


def test_a_stream_stays_a_stream(shop: Ask) -> None:
    got = shop("/stream")
    assert [part for part in got.parts if part] == [b"one ", b"two"]
    assert got.all("content-security-policy")


def test_a_policy_of_the_application_is_kept(shop: Ask) -> None:
    first, second = shop("/own").all("content-security-policy")
    assert first == OWN
    assert "https:" not in second
    first, second = shop("/own", cookie=YES).all("content-security-policy")
    assert first == "script-src 'self' stats.example; img-src https: stats.example"  # fmt: skip
    assert "https:" not in second, "ads are refused still, and https: would reach them"


def test_conditional_requests(shop: Ask) -> None:
    (tag,) = shop("/etag", cookie=YES).all("etag")
    assert tag != ETAG
    again = shop("/etag", cookie=YES, if_none_match=tag)
    assert (again.status, again.body, again.all("etag")) == (304, b"", [tag])
    assert "stats.example" in again.all("content-security-policy")[0]
    changed = shop("/etag", if_none_match=tag)
    assert changed.status == 200
    assert "stats.example" not in changed.all("content-security-policy")[0]
    assert shop("/etag", if_none_match=ETAG).status == 200


def test_no_shared_cache_keeps_a_page(shop: Ask) -> None:
    got = shop("/etag")
    assert got.all("cache-control") == ["private, no-cache"]
    assert "consentry-granted" in ", ".join(got.all("vary")).lower()
    image = shop("/image")
    assert image.all("cache-control") == ["public, max-age=600"]
    assert image.all("content-security-policy") == []


def test_head_says_what_get_says(shop: Ask) -> None:
    got, head = shop("/own"), shop("/own", method="HEAD")
    assert head.status == got.status
    assert head.all("content-security-policy") == got.all("content-security-policy")


def test_refused_cookies_are_neither_set_nor_kept(shop: Ask) -> None:
    assert shop("/cookie").all("set-cookie") == []
    found = shop("/page", cookie=f"{YES}; _ad=1; _st=2").all("set-cookie")
    gone = [
        f"_ad=; Max-Age=0; Path={path}; Secure{kind}"
        for path in ("/", "/page")
        for kind in ("", "; Partitioned")
    ]
    assert found == [value + on for value in gone for on in ("", "; Domain=shop.example")]


@pytest.mark.parametrize("name", [name for name in SHOPS if name != "starlette, added"])
def test_error_pages_have_the_policy(name: str) -> None:
    for where, status in (("/boom", 500), ("/no/such/page", 404)):
        got = SHOPS[name](RULES)(where)
        assert got.status == status
        if "html" in "".join(got.all("content-type")):
            assert got.all("content-security-policy")
        else:
            assert "".join(got.all("content-type")) in ("text/plain; charset=utf-8", "application/json")  # fmt: skip
