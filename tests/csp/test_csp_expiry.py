"""Where a cookie may be, and the headers that take it away from there."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.csp.expiry import DEEPEST, MOST_HEADERS, above, taken_away
from tests.csp.asked import NOW, RULES, answer, values

ABOVE = {
    "the root": ("/", ["/"]),
    "a page": ("/shop", ["/", "/shop"]),
    "a folder": ("/shop/", ["/", "/shop", "/shop/"]),
    "below": ("/shop/a", ["/", "/shop", "/shop/", "/shop/a"]),
    "nothing": ("", ["/"]),
    "no path": ("shop/a", ["/"]),
    "another attribute": ("/a; Domain=x", ["/", "/a%3B%20Domain=x"]),
    "another header": ("/a\r\nSet-Cookie: b=1", ["/", "/a%0D%0ASet-Cookie:%20b=1"]),
    "encoded": ("/k%C3%A4se", ["/", "/k%C3%A4se"]),
    "not encoded": ("/käse", ["/", "/k%C3%A4se"]),
    "an empty step": ("//a", ["/", "//a"]),
}  # fmt: skip


@pytest.mark.parametrize("name", ABOVE)
def test_the_paths_above_a_page(name: str) -> None:
    path, expected = ABOVE[name]
    assert above(path) == expected


@given(st.text().map(lambda rest: "/" + rest), st.text(), st.booleans())
def test_whatever_a_path_or_a_host_says_no_header_is_broken(
    path: str, host: str, secure: bool
) -> None:
    paths = above(path)
    assert len(paths) <= 1 + 2 * DEEPEST
    made = taken_away([("_ad", paths), ("x y", paths), ("a;b", paths)], host, secure=secure)
    assert made[0].startswith("_ad=; Max-Age=0; Path=/")
    for value in made:
        pattern = (
            r"_ad=; Max-Age=0; Path=/[!-:<-~]*(; Secure(; Partitioned)?)?(; Domain=[a-z0-9_.-]+)?"
        )
        assert re.fullmatch(pattern, value)


def test_the_likeliest_paths_come_first_and_there_is_a_limit() -> None:
    names = [(f"_ad{n:03}", above("/a/b/c")) for n in range(60)]
    made = taken_away(names, "shop.test")
    assert len(made) == MOST_HEADERS
    assert all("; Path=/;" in value or value.endswith("; Path=/") for value in made)
    few = taken_away([("_ad", above("/a"))], "shop.test")
    kinds = [("; Path=/a" in value, "Partitioned" in value) for value in few[::2]]
    assert kinds == [(False, False), (False, True), (True, False), (True, True)]


def test_a_cookie_of_a_prefix_is_taken_away_as_browsers_ask_for() -> None:
    for name, host, plain in (
        ("__Host-ad", "shop.test", "; Secure"),
        ("__utma", "localhost", ""),
        ("__Secure-ad", "localhost", "; Secure"),
    ):
        gone = f"{name}=; Max-Age=0; Path=/"
        assert taken_away([(name, ["/"])], host) == [
            f"{gone}{plain}",
            f"{gone}; Secure; Partitioned",
        ]
    assert len(taken_away([("__Host-ad", ["/a", "/"])], "shop.test")) == 2


def test_a_page_below_a_folder_takes_away_what_lies_there() -> None:
    found = values(answer(f"consentry=v=1&id=a&t={NOW}&g=; _ad_id=1", path="/shop/x"), "set-cookie")
    paths = ["/", "/shop", "/shop/", "/shop/x"]
    assert [re.search(r"Path=([^;]*)", v)[1] for v in found[::6]] == paths  # type: ignore[index]
    assert len(found) == 6 * len(paths)
    assert values(answer("_ad_id=1", rules=RULES), "set-cookie")[0].startswith("_ad_id=")
