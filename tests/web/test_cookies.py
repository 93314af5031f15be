"""Which cookies a server expires: those of refused tags, and nothing else."""

from __future__ import annotations

import http.client
import json

import pytest

from consentry.config import Tag
from consentry.csp.values import domains
from consentry.web.cookies import refused_cookies
from tests.e2e.conftest import standing_in, vendors
from tests.running import WRITE_KEY, Server, StandIn
from tests.sdk.test_whole import acme

__all__ = ["acme", "standing_in", "vendors"]

TAGS = (
    Tag("stats", ("analytics",), cookies=("_st*",)),
    Tag("ads", ("advertising", "analytics"), cookies=("_ad", "_both")),
    Tag("login", ("necessary",), cookies=("_st_login",)),
    Tag("other", ("functional",), cookies=("_both",)),
    Tag("map", ("functional",), cookies=("_map /maps",)),
)
AT_ROOT = ["/"]
SHOP = ["/shop"]
CASES: dict[str, tuple[set[str], list[str], str, dict[str, list[str]]]] = {
    "sent": ({"analytics"}, ["_st1", "basket", "_ad"], "/", {"_ad": AT_ROOT, "_st1": AT_ROOT}),
    "of one category": ({"advertising"}, ["_st1", "_ad"], "/", {"_ad": AT_ROOT}),
    "another tag stores it too": ({"analytics"}, ["_st_login", "_both"], "/", {}),
    "no names": ({"analytics"}, ["consentry", "consentry_x", "", "_st\r\nX: y"], "/", {}),
    "nothing refused": (set(), ["_st1", "_ad"], "/shop", {}),
    "no such category": ({"nonsense"}, ["_st1"], "/shop", {}),
    "below a folder": (
        {"advertising"}, ["_ad", "_st1"], "/shop", {"_ad": [*AT_ROOT, *SHOP]},
    ),
    "not sent, and whole": ({"advertising"}, [], "/shop", {"_ad": SHOP}),
    "its entry states the path": ({"functional"}, [], "/", {"_map": ["/maps"]}),
    "stated, and the page's": ({"functional"}, [], "/shop", {"_map": ["/maps", *SHOP]}),
    "stated, and sent": ({"functional"}, ["_map"], "/", {"_map": ["/", "/maps"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_names_and_paths(name: str) -> None:
    categories, sent, path, expected = CASES[name]
    assert refused_cookies(TAGS, frozenset(categories), sent, path) == expected


@pytest.mark.parametrize(
    ("host", "above"),
    [
        ("www.shop.test", ["www.shop.test", "shop.test"]),
        ("WWW.a_b.test", ["www.a_b.test", "a_b.test"]),
        ("shop.test", ["shop.test"]),
        ("localhost", []),
        ("127.0.0.1", []),
        ("[::1]", []),
        ("shop.test:80", []),
        ("", []),
        ("a b.test", []),
        ("x; Secure.test", []),
    ],
)
def test_domains(host: str, above: list[str]) -> None:
    assert domains(host) == above


@pytest.mark.parametrize(("key", "status"), [(WRITE_KEY, 200), ("wk_nobody", 401), (None, 401)])
def test_who_may_ask(acme: Server, vendors: StandIn, key: str | None, status: int) -> None:
    body = {"categories": ["analytics"], **({"writeKey": key} if key else {})}
    connection = http.client.HTTPConnection("127.0.0.1", acme.port, timeout=10)
    try:
        headers = {"Cookie": "_st1=x; session=y", "Host": "www.shop.test"}
        connection.request("POST", "/v1/consent/cookies", json.dumps(body), headers)
        answer = connection.getresponse()
        assert answer.status == status
        found = answer.headers.get_all("Set-Cookie") or []
        if status == 200:
            assert json.loads(answer.read()) == {"expired": ["_st1"]}
            assert found == [
                "_st1=; Max-Age=0; Path=/",
                "_st1=; Max-Age=0; Path=/; Domain=www.shop.test",
                "_st1=; Max-Age=0; Path=/; Domain=shop.test",
                "_st1=; Max-Age=0; Path=/; Secure; Partitioned",
                "_st1=; Max-Age=0; Path=/; Secure; Partitioned; Domain=www.shop.test",
                "_st1=; Max-Age=0; Path=/; Secure; Partitioned; Domain=shop.test",
            ]
        else:
            assert found == []
    finally:
        connection.close()


NO = "v=1&id=d1&n=main%401&t=1&g=&d=analytics"
SOME = "v=1&id=d1&n=main%401&t=1&g=analytics&d=advertising"
RENEWED: list[tuple[str, list[str], str | None, bool]] = [
    ("a refusal", [NO], "own", True),
    ("something is granted, and may have been withdrawn since", [SOME], "own", False),
    ("two", [NO, NO], "own", False),
    ("unreadable", ["v=1&g="], "own", False),
    ("none", [], "own", False),
    ("of another device", [NO.replace("d1", "d2")], "own", False),
    ("asked by another site", [NO], "http://other.test", False),
    ("nobody says by whom", [NO], None, False),
]


@pytest.mark.parametrize(
    ("cookies", "origin", "renewed"), [case[1:] for case in RENEWED], ids=[c[0] for c in RENEWED]
)
def test_a_refusal_is_written_once_more(
    acme: Server, cookies: list[str], origin: str | None, renewed: bool
) -> None:
    host = acme.base.removeprefix("http://")
    headers = {"Cookie": "; ".join(f"consentry={value}" for value in cookies)}
    if origin is not None:
        headers["Origin"] = f"http://{host}" if origin == "own" else origin
    body = {
        "subject": {"anonymousId": "d1"},
        "preferences": {"analytics": False},
        "writeKey": WRITE_KEY,
    }
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/v1/consent", json.dumps(body), headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    written = answer.headers.get_all("set-cookie") or []
    assert bool(written) is renewed
    if renewed:
        assert written[0].startswith(f"consentry={NO}; Max-Age=")
