"""Every kind of request that a page can make, in a browser, against each way of stopping it.

The vectors are data (``vectors.json``), one entry each; docs/enforcement-in-the-page.md has the
table that this prints. The server that browsers report to is a real one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from consentry.csp import Rules, from_file
from tests.browsers import driven
from tests.e2e.asking import acme_with
from tests.e2e.vector_world import BEYOND, STOPPABLE, TRACKER, Street, street
from tests.running import WRITE_KEY, Server, StandIn, wait_for

pytestmark = [pytest.mark.browser, pytest.mark.node]

NEVER = {"fetchLater", "a ping", "paint worklet"} if driven() == "firefox" else set()
"""What the browser does not do at all, whoever asks."""
WHEN_IDLE = {"prefetch", "injected prefetch"} if driven() == "firefox" else set()
"""What it does when it has nothing else to do, or not at all."""
AHEAD = {"img", "img srcset", "picture source", "video poster", "declarative shadow root"}
AHEAD |= {"svg image", "svg feImage", "svg script"}
"""What Firefox asks for although it stands in a template."""
ALL = {vector["name"] for vector in STOPPABLE} - NEVER
IN_FORCE = "consentry.ready.then(() => consentry.getCategories())"
NOT_MARKUP = {"link header"}
TOO_LATE = {"document.write"}  # a template is loaded after the page was parsed
TAG = f"""
[[tag]]
name = "tracker"
categories = ["advertising"]
hosts = ["{TRACKER}"]
cookies = ["_tr*"]
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base, more=TAG) as running:
        yield running


def rules_of(acme: Server) -> Rules:
    return from_file(acme.config, report_url=f"/v1/csp-reports?key={WRITE_KEY}")


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, acme: Server) -> Iterator[Street]:
    folder = tmp_path_factory.mktemp("street")
    with street(folder, rules_of(acme), acme.base) as running:
        yield running


def cookie(granted: str, denied: str = "") -> str:
    return f"v=1&id=a-1&n=n%401&t={int(time.time())}&g={granted}&d={denied}"


def show(capsys: pytest.CaptureFixture[str], name: str, found: set[str]) -> None:
    """One line of the table, in the output of `make test`."""
    with capsys.disabled():
        print(f"\n  {name}: {len(found & ALL)} of {len(ALL)} kinds of request left the page")


def told(acme: Server, via: str = "csp") -> list[dict[str, Any]]:
    """What the leak report says of the tracker."""
    rows = acme.admin("GET", "/v1/leaks").json["leaks"]
    return [row for row in rows if (row["host"], row["via"]) == (TRACKER, via)]


def test_there_are_enough_vectors() -> None:
    assert len(ALL | NEVER) == len(STOPPABLE) >= 45
    assert max(Counter(v["body"] for v in STOPPABLE).values()) == 1


def test_without_protection_all_of_them_leave(
    here: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    found = here.visit("none", expected=len(ALL))
    show(capsys, "no protection", found)
    assert ALL - WHEN_IDLE <= found <= ALL


@pytest.mark.parametrize(
    "value", [None, cookie("advertising", "advertising")], ids=["no answer", "refused"]
)
def test_behind_the_policy_none_does(
    here: Street, acme: Server, capsys: pytest.CaptureFixture[str], value: str | None
) -> None:
    before = sum(row["count"] for row in told(acme))
    found = here.visit("csp", cookie=value)
    show(capsys, "policy, refused" if value else "policy, no answer yet", found)
    assert found == set()
    # Nothing left because it was stopped, and not because the page did nothing.
    kinds = {"script", "image", "connect", "font", "media", "frame", "style", "form"}
    wait_for(lambda: sum(row["count"] for row in told(acme)) - before >= len(ALL) // 2)
    wait_for(lambda: {row["kind"] for row in told(acme)} >= kinds, what="reports of each kind")
    for row in told(acme):
        assert row["stopped"]
        assert (row["tags"], row["categories"]) == (["tracker"], ["advertising"])
        assert row["page"].startswith("/csp/")


def test_once_granted_all_of_them_leave_under_the_same_policy(
    here: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    found = here.visit("csp", cookie=cookie("advertising"), expected=len(ALL))
    show(capsys, "policy, granted", found)
    assert ALL - WHEN_IDLE <= found <= ALL


def test_behind_the_gate_none_leaves(here: Street, capsys: pytest.CaptureFixture[str]) -> None:
    found = here.visit("none", query="sdk=gate", then=IN_FORCE)
    show(capsys, "gate, no answer yet", found)
    assert found == set()
    assert here.said == {"analytics": False, "advertising": False}


def test_without_the_comment_firefox_asks_ahead(
    here: Street, capsys: pytest.CaptureFixture[str]
) -> None:
    """The document says so; if it mends that, the document must change."""
    found = here.visit("none", query="sdk=bare", then=IN_FORCE)
    show(capsys, "gate without comments", found)
    assert found == (AHEAD if driven() == "firefox" else set())


def test_the_gate_opens_once_granted(here: Street, capsys: pytest.CaptureFixture[str]) -> None:
    expected = ALL - NOT_MARKUP - TOO_LATE
    query = "sdk=gate&late=1"
    value = cookie("advertising")
    found = here.visit("csp", cookie=value, query=query, then=IN_FORCE, expected=len(expected))
    show(capsys, "gate and policy, granted", found)
    assert here.said == {"analytics": False, "advertising": True}
    assert expected - WHEN_IDLE <= found <= expected


@pytest.mark.parametrize("value", ["", "advertising"], ids=["refused", "granted"])
def test_the_guard_is_a_net_with_holes(
    here: Street, acme: Server, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    """How large they are is printed, and stands in the document; it is nothing to rely on."""
    answer = cookie(value, "" if value else "advertising")
    found = here.visit("none", cookie=answer, query="sdk=guard", then=IN_FORCE)
    show(capsys, f"guard, {'granted' if value else 'refused'}", found)
    if not value:
        assert found < ALL
        wait_for(lambda: told(acme, "guard"), what="its counts")


def test_a_withdrawal_is_in_force_on_the_next_page_whatever_was_cached(here: Street) -> None:
    """The shop says that its page may be kept for ten minutes, and answers 304 after that."""
    found = here.visit("csp", cookie=cookie("advertising"), expected=len(ALL), stays=True)
    assert ALL - WHEN_IDLE <= found <= ALL
    again = here.again("csp", cookie("", "advertising"))
    assert again == set()
    once = {"service worker"}  # is installed since the first visit
    if driven() == "firefox":
        once |= {"shared worker", "css url"}  # it lives on; a picture is kept in memory
    found = here.again("csp", cookie("advertising"), expected=len(ALL - once))
    assert found >= ALL - once - WHEN_IDLE


def test_what_no_policy_stops(here: Street, capsys: pytest.CaptureFixture[str]) -> None:
    """Going to another page, and WebRTC. The document says so; if a browser changes, it must too."""
    found = here.visit("csp", query="beyond=1", expected=len(BEYOND) - 1)
    wait_for(lambda: here.received.by_visit.get("datagrams"), what="a datagram")
    with capsys.disabled():
        print(f"\n  beyond any policy: {', '.join(sorted(found | {'WebRTC'}))}")
    assert found | {"WebRTC"} == {vector["name"] for vector in BEYOND}
