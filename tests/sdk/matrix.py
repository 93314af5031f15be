"""Every regime x what a person does, with and without the opt-out signal, in a world that may be slow.

``python -m tests.sdk.matrix`` runs the whole product (``make soak``); ``test_matrix.py`` some of it.
What must come of a cell is worked out here from the rules alone, and not from the browser's code.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.browser import Browser, Page, launched
from tests.e2e.asking import acme_with
from tests.running import WRITE_KEY, Server, call, stand_in, wait_for
from tests.sdk.person import (
    ANALYTICS,
    CALIFORNIA,
    DE,
    GRANT_DAYS,
    NEW_ZEALAND,
    NO,
    NOTICE,
    SERVER,
    SHOP,
    SIGNAL,
    TAGS,
    YES,
    Person,
    banner_text,
    categories,
    press,
    ran,
    records,
    seen,
)
from tests.sdk.site import Site, site
from tests.sdk.world import TRACKED, html, kept

PLACES = {"opt_in": DE, "opt_out": CALIFORNIA, "notice": NEW_ZEALAND}
WORLDS = ("plain", "other site", "slow server", "dead server", "two tabs")
ELSEWHERE = (
    f'<script src="http://cmp.test/sdk/consentry.js" data-key="{WRITE_KEY}" '
    'data-language="en"></script>'
)
"""The server on another site: what it set would be a third party's cookie."""
RAISED = 'version = "2"\n'
Answer = dict[str, bool]


class Cell(NamedTuple):
    regime: str
    row: str
    gpc: bool
    world: str

    @property
    def name(self) -> str:
        return f"{self.regime}, {self.row}, {'signal' if self.gpc else 'no signal'}, {self.world}"

    @property
    def place(self) -> dict[str, str]:
        return {**PLACES[self.regime], **(SIGNAL if self.gpc else {})}

    @property
    def silence(self) -> Answer:
        """What holds of who said nothing. A signal is a no to advertising."""
        if self.regime == "opt_in":
            return NO
        return ANALYTICS if self.gpc else YES

    @property
    def all(self) -> Answer:
        """What a yes to all comes to: none to what the signal refuses."""
        return ANALYTICS if self.gpc else YES


# -- what people do ---------------------------------------------------------------------------------
def accept(page: Page, asked: bool) -> None:
    press(page, *([] if asked else ["open"]), "accept")


def reject(page: Page, asked: bool) -> None:
    press(page, *([] if asked else ["open"]), "reject")


def choose(**wanted: bool) -> Callable[[Page, bool], None]:
    """Each switch by itself, then save."""

    def act(page: Page, asked: bool) -> None:
        press(page, "choose" if asked else "open")
        for category, on in wanted.items():
            at = f"[data-consentry=switch][value={category}]"
            if page.eval(f"document.querySelector({json.dumps(at)}).checked") != on:
                page.click(at)
        press(page, "save")

    return act


def withdraw(page: Page, asked: bool) -> None:
    page.does("void consentry.withdraw()")


class Row(NamedTuple):
    """What a person brings, is asked, does, and what holds then.

    ``earlier`` is a yes to all under ``version`` of the notice, given ``days`` before. ``asked`` is
    whether the regime asks then, and ``says`` why. ``act`` None: they only look.
    """

    act: Callable[[Page, bool], None] | None
    then: Callable[[Cell], Answer]
    action: str = ""
    earlier: bool = False
    days: int = 0
    new_notice: bool = False
    asks: bool = False
    says: str = ""
    before: Callable[[Cell], Answer] = lambda cell: cell.silence


ROWS = {
    "first visit": Row(None, lambda cell: cell.silence, asks=True),
    "accept": Row(accept, lambda cell: cell.all, "accept_all", asks=True),
    "reject": Row(reject, lambda cell: NO, "reject_all", asks=True),
    "choose": Row(
        choose(analytics=True, advertising=False), lambda cell: ANALYTICS, "save", asks=True
    ),
    "change": Row(
        choose(analytics=False, advertising=True),  # its own switch outweighs the signal
        lambda cell: {"analytics": False, "advertising": True},
        "save",
        earlier=True,
        before=lambda cell: cell.all,
    ),
    "withdraw": Row(
        withdraw, lambda cell: NO, "withdraw", earlier=True, before=lambda cell: cell.all
    ),
    "expired": Row(
        accept,
        lambda cell: cell.all,
        "accept_all",
        earlier=True,
        days=GRANT_DAYS + 1,
        asks=True,
        says="Your last answer is no longer valid",
    ),
    "new notice": Row(
        accept,
        lambda cell: cell.all,
        "accept_all",
        earlier=True,
        new_notice=True,
        asks=True,
        says="Our notice has changed since your last answer",
        before=lambda cell: cell.all,
    ),
}
CELLS = [
    Cell(regime, row, gpc, world)
    for row, regime, gpc, world in itertools.product(ROWS, PLACES, (False, True), WORLDS)
]


# -- where they do it -------------------------------------------------------------------------------
@dataclass
class Street:
    """A server that knows the law of each place, the shop before it, and Chromium."""

    browser: Browser
    shop: Site
    acme: Server
    version: str = "1"
    _answers: dict[tuple[str, bool], str] = field(default_factory=dict)

    def notice(self) -> Any:
        path = f"/v1/projects/{WRITE_KEY}/policy?language=en"
        return call(self.acme.base, "GET", path).json["notice"]

    def raise_notice(self) -> None:
        """The workspace raises ``[notice].version``, while the server runs."""
        if self.version == "2":
            return
        for regime, gpc in itertools.product(PLACES, (False, True)):
            self.earlier(Cell(regime, "", gpc, "plain"))
        text = self.acme.config.read_text()
        self.acme.config.write_text(text.replace(NOTICE, NOTICE + RAISED))
        wait_for(lambda: self.notice()["version"] == "2", what="the new version")
        self.version = "2"

    def earlier(self, cell: Cell) -> str:
        """The cookie of somebody who said yes to all there, under the first version."""
        key = (cell.regime, cell.gpc)
        if key not in self._answers:
            assert self.version == "1"
            self.shop.reset()
            with Person(self.browser, self.shop, cell.place) as person:
                accept(person.visits(), cell.regime == "opt_in")
                self._answers[key] = person.cookie()
        return self._answers[key]

    def play(self, cell: Cell) -> None:
        """Raises AssertionError where a cell is not what it must be."""
        row = ROWS[cell.row]
        asked = row.asks and cell.regime == "opt_in"
        if row.new_notice:
            self.raise_notice()
        brought = self.earlier(cell) if row.new_notice else ""
        self.shop.reset()
        with Person(self.browser, self.shop, cell.place, row.days, brought) as person:
            if row.earlier and not brought:
                self._answered_before(cell, person, row)
            self._visit(cell, row, person, asked)

    def _answered_before(self, cell: Cell, person: Person, row: Row) -> None:
        """By the same browser, on an earlier day."""
        with Person(self.browser, self.shop, cell.place) as before:
            accept(before.visits(), cell.regime == "opt_in")
            wait_for(lambda: len(self.shop.choices()) == 1, what="the earlier answer")
            person.brings(before.cookie())
        self.shop.asked.clear()

    def _visit(self, cell: Cell, row: Row, person: Person, asked: bool) -> None:
        if cell.world == "other site":
            self.shop.pages["shop.test/"] = html(TRACKED, ELSEWHERE)
        page = self._opens(cell, person)
        second = person.visits() if cell.world == "two tabs" else None
        assert categories(page) == row.before(cell)
        assert seen(page, "banner") is asked
        assert row.says in banner_text(page) or not asked
        assert seen(page, "open") is not asked
        loads(page, row.before(cell))
        if row.act is None:
            assert [c["name"] for c in person.visitor.cookies()] == []
            assert self.shop.choices() == []
            return
        self._answers_now(cell, row, person, page, asked)
        if second is not None:
            for category, on in row.then(cell).items():
                second.wait(f"consentry.getCategories().{category} === {json.dumps(on)}")
            assert not seen(second, "banner")
            assert len(self.shop.choices()) == 1, "who only heard of it says nothing"
        again = person.visits()
        assert categories(again) == row.then(cell)
        assert not seen(again, "banner")
        loads(again, row.then(cell))
        if cell.world == "other site":
            assert {c["domain"] for c in person.visitor.cookies()} == {"shop.test"}
            assert not any(
                "cookie" in one.headers for one in self.shop.asked if one.host == "cmp.test"
            )

    def _opens(self, cell: Cell, person: Person) -> Page:
        """The shop, once what is to be shown is; nothing holds before the server answers."""
        if cell.world not in ("slow server", "dead server"):
            return person.visits()
        self.shop.server = cell.world.split()[0]
        page = person.visitor.open(SHOP)
        page.wait("window.consentry")
        wait_for(lambda: any(one.path.endswith("/policy") for one in self.shop.asked), what="a try")
        assert page.eval("consentry.getCategories()") == {}
        assert ran(page) == []
        assert not seen(page, "banner")
        self.shop.server = "ok"
        page.wait("document.querySelector('.consentry-reopen')")
        return page

    def _answers_now(self, cell: Cell, row: Row, person: Person, page: Page, asked: bool) -> None:
        """In force at once, and recorded once the server can be reached."""
        assert row.act is not None
        if cell.world in ("slow server", "dead server"):
            self.shop.server = cell.world.split()[0]
        row.act(page, asked)
        page.wait("document.cookie.includes('consentry=')")
        assert categories(page) == row.then(cell)
        assert not seen(page, "banner")
        said = kept(person.visitor)
        assert said["n"].endswith(f"@{self.version}")
        assert granted(said, cell.silence) == row.then(cell)
        self.shop.server = "ok"
        record = records(self.acme, person, 1 + row.earlier)[-1]
        # Neither what silence had turned on, nor what was refused lately, is answered again.
        named = {name: state == "granted" for name, state in record["after"].items()}
        assert named
        assert {**row.then(cell), **named} == row.then(cell)
        evidence = record["evidence"]
        assert evidence["action"] == row.action
        if row.act is withdraw:  # by a control of the page's own, which says nothing of a notice
            assert evidence["surface"] == "api"
            assert "noticeHash" not in evidence
            return
        assert evidence["noticeVersion"] == self.version
        assert evidence["noticeKnown"] is True


def granted(said: dict[str, Any], silence: Answer) -> Answer:
    """What holds by the cookie."""
    yes, no = said.get("g", "").split(","), said.get("d", "").split(",")
    return {one: one in yes or (silence[one] and one not in no) for one in silence}


def loads(page: Page, held: Answer) -> None:
    """The tags of what holds have run, and no other."""
    expected = sorted(
        {"analytics": "/a.js", "advertising": "/b.js"}[c] for c, on in held.items() if on
    )
    page.wait(f"(window.ran ?? []).length >= {len(expected)}")
    assert ran(page) == expected


@contextlib.contextmanager
def street() -> Iterator[Street]:
    """All of it; stopped at the end."""
    with (
        tempfile.TemporaryDirectory() as folder,
        stand_in() as vendors,
        acme_with(Path(folder), vendors.base, more=TAGS + NOTICE, tail=SERVER) as acme,
        site() as shop,
        launched({"*.test": shop.port}, third_party_cookies=False) as browser,
    ):
        shop.upstream = acme.base.removeprefix("http://")
        yield Street(browser, shop, acme)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sdk.matrix")
    parser.add_argument("--only", default="", help="cells whose name has this in it")
    only = parser.parse_args().only
    cells = [cell for cell in CELLS if only in cell.name]
    good, began = 0, time.monotonic()
    with street() as there:
        for row, those in itertools.groupby(cells, key=lambda cell: cell.row):
            played = [_good(there, cell) for cell in those]
            good += sum(played)
            print(f"{row}: {sum(played)} of {len(played)}", flush=True)
    took_s = time.monotonic() - began
    print(f"{good} of {len(cells)} cells are what they must be, in {took_s:.0f} s")
    return 0 if cells and good == len(cells) else 1


def _good(there: Street, cell: Cell) -> bool:
    try:
        there.play(cell)
    except Exception as error:
        print(f"{cell.name}: {type(error).__name__}: {error}", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
