"""When people are asked again: when what they agreed to has grown, and not for other words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.config import Tag
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import Category, Mapping, Policy, Topic
from consentry.notice import Layout, Notice, as_told, edition, history_of, render, told_by
from consentry.notice.edition import Told, read_told

FIRST, LATER, NOW = 1_000 * DAY, 1_001 * DAY, 1_002 * DAY
AT_LATER = "1.19720928000000"
NOTICE = Notice()
POLICY = Policy(
    "shop",
    categories=(Category("login", essential=True), Category("analytics"), Category("advertising")),
    mappings=(Mapping("warehouse", "webhook", ("analytics",)),),
)
PIXEL = Tag("pixel", ("advertising",), ("ads.example",))
REACH = {"warehouse": "hooks.example"}


def asked(policy: Policy = POLICY, notice: Notice = NOTICE, *tags: Tag) -> Told:
    return told_by(notice, policy, tags or (PIXEL,), {}, REACH)


def category(which: str, /, **changed: Any) -> Policy:
    found = tuple(replace(c, **changed) if c.id == which else c for c in POLICY.categories)
    return replace(POLICY, categories=found)


def mapped(*mappings: Mapping) -> Policy:
    return replace(POLICY, mappings=mappings)


WAREHOUSE = POLICY.mappings[0]
ADS = Mapping("ads", "ga4", ("advertising",))
# What a later configuration is, and which categories are new in it. None: nobody is asked again.
CHANGES: dict[str, tuple[Told, tuple[str, ...] | None]] = {
    "nothing": (asked(), None),
    "another name": (asked(category("analytics", name="Numbers")), None),
    "another description": (asked(category("analytics", description="We count.")), None),
    "other words": (asked(notice=Notice(texts={"en": {"banner.title": "Hello"}})), None),
    "another layout": (asked(notice=Notice(privacy_url="/p", ask_again_days=300)), None),
    "one category less": (asked(replace(POLICY, categories=POLICY.categories[:2])), None),
    "turned off": (asked(category("analytics", enabled=False)), None),
    "one destination less": (asked(mapped()), None),
    "turned off destination": (asked(mapped(replace(WAREHOUSE, enabled=False))), None),
    "shorter age": (asked(category("analytics", max_age_us=DAY)), None),
    "a new category": (
        asked(replace(POLICY, categories=(*POLICY.categories, Category("social")))),
        ("social",),
    ),
    "essential no more": (asked(category("login", essential=False)), ("login",)),
    "another destination": (
        asked(mapped(WAREHOUSE, Mapping("ads", "ga4", ("analytics", "advertising")))),
        ("analytics", "advertising"),
    ),
    "another tag": (asked(POLICY, NOTICE, PIXEL, Tag("heat", ("analytics",))), ("analytics",)),
    "another kind under the same name": (
        asked(mapped(replace(WAREHOUSE, kind="ga4"))),
        ("analytics",),
    ),
    "another host under the same name": (
        told_by(NOTICE, POLICY, (PIXEL,), {}, {"warehouse": "other.example"}),
        ("analytics",),
    ),
    "another host of a tag": (
        asked(POLICY, NOTICE, replace(PIXEL, hosts=("ads.example", "more.example"))),
        ("advertising",),
    ),
    "a host of a tag less": (asked(POLICY, NOTICE, replace(PIXEL, hosts=())), None),
    "hosts that nobody has noted": (told_by(NOTICE, POLICY, (PIXEL,), {}), None),
    "a raised version": (asked(notice=Notice(version="2")), ()),
    "another notice": (asked(notice=Notice(id="other")), ()),
    "a raised version and a new category": (
        asked(
            replace(POLICY, categories=(*POLICY.categories, Category("social"))),
            Notice(version="2"),
        ),
        ("social",),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_who_is_asked_again_and_about_what(name: str) -> None:
    told, changed = CHANGES[name]
    history = history_of([(FIRST, asked()), (LATER, told)])

    categories = [Category(c) for c in told.categories]
    found = edition(history, categories, NOW)

    assert found.changed == (changed or ())
    grew = changed is not None and told.version == "1" and told.id == "default"
    assert found.version == (AT_LATER if grew else told.version)
    assert {c for c, at in found.since.items() if at == LATER} == set(changed or ())
    assert found.version in history.versions


def test_the_first_notice_has_nothing_new() -> None:
    found = edition(history_of([(FIRST, asked())]), POLICY.categories, NOW)

    assert found.version == "1"
    assert found.changed == ()
    assert found.since == {"analytics": FIRST, "advertising": FIRST}


def test_what_was_taken_away_and_comes_back_is_new_to_who_answered_in_between() -> None:
    history = history_of([(FIRST, asked()), (LATER, asked(mapped())), (NOW, asked())])

    assert edition(history, POLICY.categories, NOW).changed == ("analytics",)


def test_consent_that_no_longer_counts_is_asked_for_again_from_that_day_on() -> None:
    policy = category("analytics", requires_consent_since=LATER)
    history = history_of([(FIRST, asked(policy))])

    before = edition(history, policy.categories, LATER - SECOND)
    after = edition(history, policy.categories, LATER)

    assert (before.version, before.changed) == ("1", ())
    assert (after.version, after.changed) == (AT_LATER, ("analytics",))


tolds = st.lists(
    st.builds(
        asked,
        st.sampled_from([POLICY, mapped(), category("analytics", enabled=False)]),
        st.sampled_from([NOTICE, Notice(version="2")]),
        st.sampled_from(
            [PIXEL, Tag("heat", ("analytics",)), Tag("both", ("analytics", "advertising"))]
        ),
    ),
    min_size=1,
    max_size=8,
)


@given(tolds)
def test_a_category_that_grew_is_newer_than_every_answer_given_before(told: list[Told]) -> None:
    """Whoever answered at some time was told of all that a category covers now, or is asked."""
    times = [FIRST + n * DAY for n in range(len(told))]
    history = history_of(zip(times, told, strict=True))
    for name, meaning in told[-1].categories.items():
        for at, then in zip(times, told, strict=True):
            shown = then.categories.get(name)
            if shown is not None and meaning.grew_from(shown):
                assert history.since[name] > at


@given(tolds)
def test_whoever_was_shown_an_edition_agreed_to_all_that_has_not_grown_since(
    told: list[Told],
) -> None:
    """What covers what somebody was shown, and nothing beyond: by the text alone, too."""
    times = [FIRST + n * DAY for n in range(len(told))]
    texts = [msgspec.structs.replace(one, texts={"en": _text(one)}) for one in told]
    history = history_of(zip(times, texts, strict=True))
    for at, one in zip(times, texts, strict=True):
        last_shown = max(t for t, other in zip(times, texts, strict=True) if other == one)
        until = history.covers_until(None, None, _text(one))
        assert until is not None
        for name in one.categories:
            grown = history.grown(name)
            assert (grown is not None and grown > until) == (
                grown is not None and grown > last_shown
            )
        named = edition(history_of((t, o) for t, o in zip(times, texts, strict=True) if t <= at), POLICY.categories, at).version  # fmt: skip
        both = history.covers_until("default", named, _text(one))
        assert both is not None
        assert both <= until


def _text(told: Told) -> str:
    return repr((told.version, told.categories))


def test_nothing_has_grown_in_what_there_was_from_the_beginning() -> None:
    history = history_of([(FIRST, asked()), (LATER, asked(mapped(WAREHOUSE, ADS)))])

    assert [history.grown(c) for c in ("login", "analytics", "advertising")] == [None, None, LATER]
    told = as_told(POLICY, history)
    assert [c.since for c in told.categories] == [None, None, LATER]
    assert as_told(POLICY, history_of([(FIRST, asked())])) is POLICY


@pytest.mark.parametrize(
    ("shown", "until"),
    [
        ((None, None, None), None),
        (("another", "1", None), None),
        (("default", "1", None), FIRST),
        (("default", AT_LATER, None), LATER),
        (("default", "0.7", None), FIRST),
        ((None, None, "old"), FIRST),
        ((None, None, "new"), LATER),
        (("default", AT_LATER, "old"), FIRST),
        (("default", "1", "new"), FIRST),
        (("default", None, "unheard of"), None),
    ],
)
def test_up_to_when_a_notice_told_of_changes(shown: tuple[Any, ...], until: int | None) -> None:
    first = msgspec.structs.replace(asked(), texts={"en": "old"})
    grown = msgspec.structs.replace(asked(mapped(WAREHOUSE, ADS)), texts={"en": "new"})
    history = history_of([(FIRST, first), (LATER, grown)])

    assert history.covers_until(*shown) == until


@given(tolds)
def test_the_same_again_changes_nothing(told: list[Told]) -> None:
    once = history_of((FIRST + n * DAY, one) for n, one in enumerate(told))
    again = once.then(FIRST + 100 * DAY, told[-1])

    assert again == once


def test_what_is_told_is_kept_with_the_record_and_read_again() -> None:
    told = told_by(NOTICE, POLICY, [PIXEL], {"en": "ab"}, REACH)
    evidence = msgspec.json.decode(msgspec.json.encode({"notice": msgspec.to_builtins(told)}))

    assert read_told(evidence) == told
    assert read_told({}) is None


# -- what is shown ----------------------------------------------------------------------------
def test_the_hash_is_of_all_that_is_shown_and_of_nothing_else() -> None:
    shown = render(NOTICE, POLICY, [PIXEL], "de")
    same = render(Notice(version="9", cookie_days=400), POLICY, [PIXEL], "de")
    assert shown.digest == same.digest

    others = [
        render(NOTICE, POLICY, [PIXEL], "en"),
        render(Notice(texts={"de": {"banner.title": "Hallo"}}), POLICY, [PIXEL], "de"),
        render(NOTICE, category("advertising", description="x", id="promo"), [PIXEL], "de"),
        render(NOTICE, mapped(), [PIXEL], "de"),
        render(NOTICE, POLICY, [], "de"),
        render(Notice(layout=Layout.MODAL), POLICY, [PIXEL], "de"),
        render(NOTICE, POLICY, [replace(PIXEL, hosts=("other.example",))], "de"),
        render(Notice(privacy_url="/privacy"), POLICY, [PIXEL], "de"),
        render(Notice(controller="Acme GmbH, Wien"), POLICY, [PIXEL], "de"),
        render(NOTICE, replace(POLICY, workspace="another shop"), [PIXEL], "de"),
    ]
    assert len({one.digest for one in [shown, *others]}) == len(others) + 1
    assert '"controller":"shop"' in shown.canonical


def test_a_category_is_named_in_the_language_of_who_is_asked() -> None:
    policy = category("analytics", name="Analytics", description="We count.")
    names = {
        (own, language): render(
            Notice(texts={"de": {"category.analytics.name": "Zahlen"}} if own else {}),
            policy,
            [],
            language,
        )
        .categories[1]
        .name
        for own in (False, True)
        for language in ("en", "de", "da")
    }

    assert names == {
        (False, "en"): "Analytics",
        (False, "de"): "Statistik",
        (False, "da"): "Analytics",
        (True, "en"): "Analytics",
        (True, "de"): "Zahlen",
        (True, "da"): "Analytics",
    }


def test_who_is_behind_a_category_is_shown() -> None:
    login, analytics, advertising = render(NOTICE, POLICY, [PIXEL], "en").categories

    assert login.essential
    assert (analytics.destinations, analytics.tags) == (("warehouse",), ())
    assert (advertising.destinations, advertising.tags) == ((), ("pixel",))


CONTROLS = Path(__file__).parents[2] / "sdk" / "js" / "src" / "ui"
SAID = re.compile(r'say\("([a-z_.]+)"')
"""Words that the page's controls ask for by their whole key."""


def test_whatever_the_controls_say_is_in_the_document_and_its_archive() -> None:
    policy = replace(POLICY, topics=(Topic("news", "News", ("email",)),))
    shown = render(NOTICE, policy, [], "en")
    said = {key for file in CONTROLS.glob("*.ts") for key in SAID.findall(file.read_text())}

    assert len(said) > 20
    assert said - set(shown.texts) == set()


def test_what_pages_and_mails_say_is_not_sent_to_the_page() -> None:
    texts = render(NOTICE, POLICY, [], "en").texts

    assert "banner.title" in texts
    assert [key for key in texts if key.startswith(("page.", "mail.", "sms."))] == []
    assert [key for key in texts if key.startswith("category.analytics.")] == []
