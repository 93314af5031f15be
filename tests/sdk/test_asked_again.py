"""A person is asked again when what was agreed to has grown, told what is new, and not for words."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Page, Visitor
from tests.e2e.asking import acme_with
from tests.running import ADMIN_KEY, WRITE_KEY, Server, StandIn, call, wait_for
from tests.sdk.site import Site
from tests.sdk.world import READY, html, kept

pytestmark = [pytest.mark.browser, pytest.mark.node]

LANG = Path(__file__).parents[2] / "sdk" / "js" / "lang"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    with acme_with(tmp_path_factory.mktemp("acme"), vendors.base) as running:
        yield running


def in_language(shop: Site, visitor: Visitor, language: str) -> Page:
    """A page of the shop. Each language has a policy document of its own, so none is old."""
    tag = f'<script src="/sdk/consentry.js" data-key="{WRITE_KEY}" data-language="{language}">'
    shop.pages[f"shop.test/{language}"] = html(head=tag + "</script>")
    page = visitor.open(f"http://shop.test/{language}")
    page.eval(READY)
    return page


def notice(server: Server, language: str = "en") -> Any:
    path = f"/v1/projects/{WRITE_KEY}/policy?language={language}"
    return call(server.base, "GET", path).json["notice"]


def reconfigure(server: Server, old: str, new: str) -> None:
    before, text = notice(server)["hash"], server.config.read_text()
    assert old in text
    server.config.write_text(text.replace(old, new))
    wait_for(lambda: notice(server)["hash"] != before, what="the configuration")


def records(server: Server, device: str) -> list[Any]:
    path = f"/v1/subjects/anonymous_id:{device}?history=true"
    found: list[Any] = call(server.base, "GET", path, key=ADMIN_KEY).json["history"]
    return found


BANNER = "document.querySelector('[data-consentry=banner]')"


def test_a_new_destination_is_asked_about_and_new_words_are_not(
    shop: Site, visitor: Visitor, acme: Server
) -> None:
    page = in_language(shop, visitor, "en")
    page.wait(BANNER)
    # A cookie dates an answer by the second, rounded down: not by the one in which the server began.
    began = int(time.time())
    wait_for(lambda: int(time.time()) > began, what="the next second")
    page.click("[data-consentry=accept]")
    device = kept(visitor)["id"]
    wait_for(lambda: records(acme, device), what="the first answer")

    words = '\n[notice.texts.en]\n"banner.title" = "May we, please?"\n[server]\n'
    reconfigure(acme, "\n[server]\n", words)
    reworded = in_language(shop, visitor, "fr")
    assert not reworded.eval(f"!!{BANNER}"), "nothing has grown"

    reconfigure(acme, 'categories = ["analytics"]', 'categories = ["analytics", "advertising"]')
    grown = notice(acme)
    assert grown["changed"] == ["advertising"]
    asked = in_language(shop, visitor, "de")
    asked.wait(BANNER)
    german = json.loads((LANG / "de.json").read_text())
    told = german["banner.changed"].replace("{categories}", german["category.advertising.name"])
    assert told in asked.eval(f"{BANNER}.textContent")

    asked.click("[data-consentry=accept]")
    wait_for(lambda: len(records(acme, device)) == 2, what="the second answer")
    evidence = records(acme, device)[0]["evidence"]
    assert evidence["noticeVersion"] == grown["version"]
    assert evidence["noticeHash"] == notice(acme, "de")["hash"]
    assert (evidence["language"], evidence["noticeKnown"]) == ("de", True)
    again = in_language(shop, visitor, "nl")
    assert not again.eval(f"!!{BANNER}"), "answered"
    # The browser still has the document that the first page asked with.
    kept_since = in_language(shop, visitor, "en")
    assert not kept_since.eval(f"!!{BANNER}"), "what was kept is older than the answer"

    found = call(acme.base, "GET", "/v1/choices?by=version", key=ADMIN_KEY).json["rows"]
    counts = {row["version"]: (row["shown"], row["accepted"], row["changed"]) for row in found}
    assert counts == {"1": (1, 1, 0), grown["version"]: (1, 0, 1)}
