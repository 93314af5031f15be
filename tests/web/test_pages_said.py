"""What a form says: what was turned on or off on the page that stood there, and nothing more."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from consentry.core.record import Node, NodeKind
from consentry.csp import cookie as cookies
from consentry.flow.links import Link, LinkType
from tests.e2e.paging import Form
from tests.web.pages import CONFIG, Place, config

OURS = {"Sec-Fetch-Site": "same-origin"}
OPT_OUT = '[[category]]\nid = "social"\nregime = "opt_out"\n'
HOOK = '[[destination]]\nname = "{}"\nkind = "console"\ncategories = ["{}"]\n'


@pytest.fixture
async def shop() -> AsyncIterator[Place]:
    """Categories whose switches silence turns on: social, and nothing else."""
    place = await Place.open(OPT_OUT)
    yield place
    await place.close()


async def opened(place: Place, headers: dict[str, str] | None = None) -> Form:
    return Form((await place.ask("GET", "/preferences", headers=headers)).body)


def claim_of(answer: Any) -> cookies.Claim:
    found = cookies.read(answer.cookies[-1].partition(";")[0].removeprefix("consentry="))
    assert found is not None
    return found


def sent_back(answer: Any) -> dict[str, str]:
    return {"Cookie": answer.cookies[-1].partition(";")[0]}


def choices(place: Place) -> list[Any]:
    return [record for record in place.records if record.type.value == "choice"]


def said(record: Any) -> tuple[set[str], set[str]]:
    (_, fact), *_ = record.facts
    return set(fact.granted), set(fact.denied)


# What a person had said, which switches are on when it is saved, and what is then on record.
SAVED: dict[str, tuple[dict[str, list[str]], list[str], tuple[set[str], set[str]]]] = {
    "what silence turned on stays unsaid": ({}, ["social"], (set(), {"analytics", "advertising"})),
    "turning it off is a no": ({}, [], (set(), {"analytics", "advertising", "social"})),
    "turning something on is a yes": (
        {},
        ["social", "analytics"],
        ({"analytics"}, {"advertising"}),
    ),
    "a yes of before stays one": (
        {"save": ["social", "analytics"]},
        ["social", "analytics"],
        ({"analytics"}, {"advertising"}),
    ),
    "a no of before can be taken back": (
        {"withdraw": []},
        ["social"],
        ({"social"}, {"analytics", "advertising"}),
    ),
}


@pytest.mark.parametrize("name", SAVED)
async def test_only_what_was_said_is_on_record(shop: Place, name: str) -> None:
    before, on, expected = SAVED[name]
    kept: dict[str, str] = {}
    for do, switches in before.items():
        form = await opened(shop)
        kept = sent_back(await shop.post("/preferences", form.filled(do, switches), OURS))
    form = await opened(shop, kept)

    answer = await shop.post("/preferences", form.filled("save", on), {**OURS, **kept})

    assert answer.status == 200
    assert said(choices(shop)[-1]) == expected
    claim = claim_of(answer)
    assert (claim.granted, claim.denied) == expected


async def test_nothing_said_is_nothing_recorded() -> None:
    text = CONFIG.replace('id = "analytics"', 'id = "analytics"\nregime = "opt_out"')
    text = text.replace('id = "advertising"', 'id = "advertising"\nregime = "opt_out"')
    place = Place(await _started(text))
    try:
        form = await opened(place)
        assert sorted(form.on) == ["advertising", "analytics"]
        answer = await place.post("/preferences", form.filled("save"), OURS)
        assert (answer.status, answer.cookies, choices(place)) == (200, [], [])
    finally:
        await place.close()


async def _started(text: str) -> Any:
    from consentry import compose
    from consentry.config import read_config
    from consentry.destinations import registry
    from tests.web.pages import ENVIRON

    return await compose.start(read_config(text, ENVIRON, kinds=registry.KINDS))


async def test_a_yes_that_another_device_took_back_meanwhile_is_not_given_again(
    shop: Place,
) -> None:
    form = await opened(shop)
    kept = sent_back(await shop.post("/preferences", form.filled("save", ["analytics"]), OURS))
    open_page = await opened(shop, kept)
    await shop.post("/preferences", (await opened(shop, kept)).filled("withdraw"), {**OURS, **kept})

    answer = await shop.post("/preferences", open_page.filled("save"), {**OURS, **kept})

    assert claim_of(answer).granted == frozenset()


async def test_the_page_says_that_silence_is_why_something_is_on(shop: Place) -> None:
    silent = (await shop.ask("GET", "/preferences")).body.decode()
    assert "What is on is used until you turn it off." in silent
    kept = sent_back(await shop.post("/preferences", (await opened(shop)).filled("withdraw"), OURS))
    spoken = (await shop.ask("GET", "/preferences", headers=kept)).body.decode()
    assert "This is what you have agreed to." in spoken


# -- a page that is another one by the time its form comes -----------------------------------------
async def changed(place: Place) -> None:
    await place.running.take_config(config(OPT_OUT + HOOK.format("new ads", "advertising")))


def text_of(place: Place, record: Any) -> str | None:
    return place.running.world.store.notice(record.evidence.get("noticeHash", ""))


async def test_what_nobody_read_is_not_recorded_as_read(shop: Place) -> None:
    form = await opened(shop)
    await changed(shop)

    answer = await shop.post(
        "/preferences", form.filled("save", ["analytics", "advertising"]), OURS
    )

    assert answer.status == 409
    assert b"This page has changed since you opened it" in answer.body
    (record,) = choices(shop)
    assert said(record) == (set(), {"social"})
    assert record.evidence["noticeHash"] == dict(form.hidden)["seen"]
    assert record.evidence["noticeKnown"] is False
    assert "noticeVersion" not in record.evidence
    assert text_of(shop, record) is None
    assert claim_of(answer).granted == frozenset()


async def test_the_page_as_it_is_now_can_be_answered_at_once(shop: Place) -> None:
    form = await opened(shop)
    await changed(shop)
    again = await shop.post("/preferences", form.filled("save", ["advertising", "social"]), OURS)

    answer = await shop.post(
        "/preferences",
        Form(again.body).filled("save", ["advertising"]),
        {**OURS, **sent_back(again)},
    )

    assert answer.status == 200
    record = choices(shop)[-1]
    assert said(record)[0] == {"advertising"}
    assert record.evidence["noticeKnown"] is True
    shown = text_of(shop, record)
    assert shown is not None
    assert "new ads" in shown


async def test_a_no_of_an_old_page_counts_whole(shop: Place) -> None:
    form = await opened(shop)
    await changed(shop)

    answer = await shop.post("/preferences", form.filled("withdraw"), OURS)

    assert answer.status == 200
    assert said(choices(shop)[-1]) == (set(), {"analytics", "advertising", "social"})


@pytest.mark.parametrize("seen", ["", "0" * 64, "no hash", "0" * 5000])
async def test_a_form_that_does_not_say_what_it_stood_on_grants_nothing(
    shop: Place, seen: str
) -> None:
    form = await opened(shop)
    fields = [field for field in form.filled("save", ["analytics"]) if field[0] != "seen"]

    answer = await shop.post("/preferences", [*fields, ("seen", seen)], OURS)

    assert answer.status == 409
    assert said(choices(shop)[-1])[0] == set()
    named = choices(shop)[-1].evidence.get("noticeHash")
    assert named == (seen if len(seen) == 64 else None)


# -- who is behind a switch -----------------------------------------------------------------------
async def test_the_page_and_its_archive_name_who_gets_the_data() -> None:
    tags = '[[tag]]\nname = "Heat map"\ncategories = ["analytics"]\nhosts = ["heat.example"]\n'
    place = await Place.open(HOOK.format("Warehouse", "analytics") + tags)
    try:
        page = await place.ask("GET", "/preferences")
        for name in (b"Warehouse", b"Heat map", b"Nobody at the moment."):
            assert name in page.body
        answer = await place.post("/preferences", Form(page.body).filled("save", []), OURS)
        assert answer.status == 200
        shown = text_of(place, choices(place)[-1])
        assert shown is not None
        items = {one["id"]: one for one in msgspec.json.decode(shown)["items"]}
        assert items["analytics"]["destinations"] == ["Warehouse"]
        assert items["analytics"]["tags"] == ["Heat map"]
        assert items["advertising"]["destinations"] == []
    finally:
        await place.close()


# -- links in mails ------------------------------------------------------------------------------
def withdrawing(place: Place) -> str:
    office, now = place.running.site.office, place.running.world.clock.now()
    link = Link(subject=(Node(NodeKind.EMAIL, "ann@shop.example"),), expires_at=now + 10**9)
    return f"/unsubscribe?t={office.links.token(LinkType.WITHDRAW, link)}"


async def test_a_mail_program_that_posts_by_itself_was_shown_nothing(shop: Place) -> None:
    await shop.post(withdrawing(shop), [("List-Unsubscribe", "One-Click")])

    evidence = choices(shop)[-1].evidence
    assert evidence["oneClick"] is True
    assert not [name for name in evidence if name.startswith("notice")]


async def test_an_unsubscribe_page_that_has_changed_still_unsubscribes(shop: Place) -> None:
    path = withdrawing(shop)
    form = Form((await shop.ask("GET", path)).body)
    named = replace(shop.running.config.notice, texts={"en": {"page.unsubscribe.button": "Stop"}})
    await shop.running.take_config(replace(shop.running.config, notice=named))

    answer = await shop.post(path, form.filled("all"))

    assert answer.status == 200
    record = choices(shop)[-1]
    assert "topic:news:email" in said(record)[1]
    assert record.evidence["noticeHash"] == dict(form.hidden)["seen"]
    assert record.evidence["noticeKnown"] is False
