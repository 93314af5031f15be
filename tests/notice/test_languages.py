"""Which language a person gets, and the texts in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.policy import Category
from consentry.notice import (
    category_name,
    honesty,
    languages,
    negotiate,
    ranges,
    texts_in,
    topic_name,
)
from consentry.notice.languages import direction
from consentry.notice.values import Notice

THERE = ("ar", "de", "en", "fr", "pt", "zh-Hant")

# What a browser asks for, and what it gets.
ASKED = {
    "nothing": ("", "en"),
    "exactly": ("de", "de"),
    "a region": ("de-AT", "de"),
    "the most wanted first": ("fr;q=0.5, de;q=0.8, en;q=0.1", "de"),
    "the first of equals": ("fr, de", "fr"),
    "what is not there": ("da, ja", "en"),
    "what is not there, then what is": ("da, ja, ar", "ar"),
    "one that is not wanted": ("de;q=0, fr;q=0.1", "fr"),
    "any": ("*", "en"),
    "a script": ("zh-Hant-TW", "zh-Hant"),
    "less than a script": ("zh", "zh-Hant"),
    "another script of it": ("zh-Hans", "zh-Hant"),
    "in capitals": ("DE", "de"),
    "a private use": ("de-x-own", "de"),
    "no weight": ("de;q=much, fr", "fr"),
    "too heavy": ("de;q=9, fr", "fr"),
    "a tag without end": ("de" + "-a" * 400, "de"),
    "noise": (";;,=,,q=", "en"),
}


@pytest.mark.parametrize("name", ASKED)
def test_who_asks_gets_what_fits_best(name: str) -> None:
    header, wanted = ASKED[name]

    assert negotiate(ranges(header), THERE, "en") == wanted


@given(st.text(max_size=2000))
def test_whatever_is_asked_for_something_that_is_there_is_given(header: str) -> None:
    assert negotiate(ranges(header), THERE, "en") in THERE


def test_what_ships_is_complete_in_every_language() -> None:
    lang = Path(__file__).parents[2] / "sdk" / "js" / "lang"
    keys = json.loads((lang / "en.json").read_text()).keys()

    assert set(languages({})) == {file.stem for file in lang.glob("*.json")}
    for language in languages({}):
        assert texts_in(language, {}).keys() == keys


@pytest.mark.parametrize("language", languages({}))
def test_what_ships_is_honest(language: str) -> None:
    """As if it were a workspace's own, it is refused nothing."""
    own = {language: texts_in(language, {})}

    assert list(honesty.flaws(Notice(texts=own), ())) == []


def test_the_usual_wait_after_a_refusal_is_as_long_as_any_law_asks() -> None:
    assert Notice().ask_again_days >= max(days for days, _ in honesty.waits())


def test_own_words_come_first_and_a_language_may_be_added() -> None:
    own = {"en": {"action.reject": "No to all"}, "da": {"action.reject": "Afvis alle"}}

    assert texts_in("en", own)["action.reject"] == "No to all"
    assert texts_in("en", own)["action.accept"] == "Accept all"
    assert texts_in("da", own)["action.reject"] == "Afvis alle"
    assert texts_in("da", own)["action.accept"] == "Accept all"
    assert "da" in languages(own)


def test_a_region_says_what_is_its_own_and_its_language_the_rest() -> None:
    own = {
        "de": {"banner.title": "Dürfen wir?", "category.analytics.name": "Zählung"},
        "de-AT": {"action.reject": "Alles ablehnen", "topic.news.name": "Neuigkeiten"},
        "zh-Hant-TW": {"action.reject": "全部拒絕"},
    }
    notice = Notice(texts=own)
    texts = texts_in("de-AT", own)

    assert texts["action.reject"] == "Alles ablehnen"
    assert texts["banner.title"] == "Dürfen wir?"
    assert texts["action.accept"] == "Alle annehmen"
    assert texts["language"] == "Deutsch"
    assert category_name(notice, Category("analytics", "Statistics"), "de-AT") == "Zählung"
    assert category_name(notice, Category("functional"), "de-AT") == "Funktional"
    assert topic_name(notice, "news", "News", "de-AT") == "Neuigkeiten"
    assert topic_name(notice, "news", "News", "de") == "News"
    assert texts_in("zh-Hant-TW", own)["action.accept"] == "Accept all"
    assert list(honesty.flaws(Notice(texts={"de-AT": {"banner.title": "Na?"}}), ())) == []
    assert [f.key for f in honesty.flaws(Notice(texts={"zh": {"banner.title": "?"}}), ())] == [
        ("texts", "zh", "action.reject")
    ]


def test_names_of_the_file_are_in_the_language_of_the_file_and_its_regions() -> None:
    named = Category("analytics", "Auswertung")
    notice = Notice(language="de", texts={"de-AT": {"action.reject": "Alles ablehnen"}})

    assert category_name(notice, named, "de-AT") == "Auswertung"
    assert category_name(notice, named, "fr") == "Statistiques"


def test_arabic_runs_from_right_to_left() -> None:
    assert direction(texts_in("ar", {})) == "rtl"
    assert direction(texts_in("de", {})) == "ltr"
