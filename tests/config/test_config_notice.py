"""``[notice]``: what it becomes, and what of it is refused because it is not honest."""

from __future__ import annotations

from typing import Any

import pytest

from consentry.core.moment import DAY
from consentry.notice import Layout, Notice, Theme

from .samples import GOOD, errors, read

ALL = """
[notice]
id = "shop"
version = 3
layout = "modal"
theme = "dark"
language = "de"
privacy_url = "https://shop.example/privacy"
ask_again_days = 200
grant_days = 100
refusal_days = 300
cookie_domain = "Shop.example"
cookie_days = 390
[notice.texts.de]
"banner.title" = "Dürfen wir?"
action.reject = "Nein, alles ablehnen"
"""

# What is written below [notice], and the values it becomes.
VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "nothing": ("", {}),
    "a version in quotes": ('version = "2026-11"', {"version": "2026-11"}),
    "who asks": ('controller = "Acme GmbH, Wien"', {"controller": "Acme GmbH, Wien"}),
    "a path": ('privacy_url = "/privacy"', {"privacy_url": "/privacy"}),
    "a domain with its dot": (
        'cookie_domain = ".shop.example"',
        {"cookie_domain": ".shop.example"},
    ),
    "a policy of the server": ("page_policy = true", {"page_policy": True}),
    "a refusal without end beside a yes with one": ("grant_days = 30", {"grant_days": 30}),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_is_not_stated_has_its_usual_value(name: str) -> None:
    text, stated = VALUES[name]

    notice = read(f"{GOOD}[notice]\n{text}\n").notice

    assert notice == Notice(**stated)


def test_no_yes_counts_longer_than_the_notice_lets_it() -> None:
    text = GOOD + '[[category]]\nid = "{}"\nessential = {}\n{}\n'
    found = read(
        text.format("login", "true", "")
        + text.removeprefix(GOOD).format("usual", "false", "")
        + text.removeprefix(GOOD).format("short", "false", "max_age_days = 10")
        + text.removeprefix(GOOD).format("long", "false", "max_age_days = 90")
        + "[notice]\ngrant_days = 30\n"
    ).policy.category

    ages = {name: found[name].max_age_us for name in ("login", "usual", "short", "long")}
    assert ages == {"login": None, "usual": 30 * DAY, "short": 10 * DAY, "long": 30 * DAY}


def test_every_key_becomes_its_value() -> None:
    notice = read(GOOD + ALL).notice

    assert notice == Notice(
        id="shop",
        version="3",
        language="de",
        layout=Layout.MODAL,
        theme=Theme.DARK,
        privacy_url="https://shop.example/privacy",
        ask_again_days=200,
        grant_days=100,
        refusal_days=300,
        cookie_domain=".shop.example",
        cookie_days=390,
        texts={"de": {"banner.title": "Dürfen wir?", "action.reject": "Nein, alles ablehnen"}},
    )


def test_a_workspace_words_its_own_categories_and_topics() -> None:
    own = '"category.analytics.name" = "Zahlen"\n"topic.news.name" = "Neues"\n'

    assert read(f"{GOOD}[notice.texts.de]\n{own}").notice.texts["de"].keys() == {
        "category.analytics.name",
        "topic.news.name",
    }


# What is written below [notice], the field that is wrong, and a part of the message.
WRONG = {
    "an unknown layout": ('layout = "popup"', "notice.layout", "not one of bar"),
    "an unknown key": ("layuot = 1", "notice.layuot", 'did you mean "layout"?'),
    "a version with a space": ('version = "a b"', "notice.version", "letters, digits"),
    "a script as address": ('privacy_url = "javascript:x"', "notice.privacy_url", "/privacy"),
    "an address without scheme": ('privacy_url = "//x.example"', "notice.privacy_url", "/privacy"),
    "a domain with a path": ('cookie_domain = "a.example/x"', "notice.cookie_domain", "domain"),
    "a domain of one word": ('cookie_domain = "example"', "notice.cookie_domain", "domain"),
    "no language": ('language = "de_AT"', "notice.language", "language tag"),
}
# What is written below [notice.texts.LANGUAGE], the key that is wrong, and a part of the message.
DISHONEST = {
    "an empty refusal": ("en", '"action.reject" = " "', "action.reject", "not empty"),
    "a refusal that is a number": ("en", '"action.reject" = 1', "action.reject", "text"),
    "a refusal that says nothing": (
        "en",
        '"action.reject" = "More options"',
        "action.reject",
        "does not say no",
    ),
    "no is not part of know": (
        "en",
        '"action.reject" = "Know more"',
        "action.reject",
        "does not say no",
    ),
    "a refusal of some": (
        "en",
        '"action.reject" = "Decline non-essential"',
        "action.reject",
        "leaves open",
    ),
    "a refusal put off": ("en", '"action.reject" = "Not now"', "action.reject", "leaves open"),
    "German settings": (
        "de",
        '"action.reject" = "Einstellungen"',
        "action.reject",
        "Alle ablehnen",
    ),
    "French continuing": ("fr", '"action.reject" = "Continuer"', "action.reject", "Tout refuser"),
    "an Austrian one": ("de-AT", '"action.reject" = "Weiter"', "action.reject", "does not say no"),
    "a language without its refusal": (
        "da",
        '"action.accept" = "Accepter alle"',
        "action.reject",
        "missing",
    ),
    "both alike": (
        "en",
        '"action.accept" = "Reject all"',
        "action.accept",
        "reads like action.reject",
    ),
    "closing reads like accepting": (
        "en",
        '"action.close" = "accept all "',
        "action.close",
        "reads like action.accept",
    ),
    "accepting reads like a no": (
        "en",
        '"action.accept" = "Reject tracking"',
        "action.accept",
        "says no",
    ),
    "accepting says nothing": (
        "de",
        '"action.accept" = "Weiter"',
        "action.accept",
        "does not say yes",
    ),
    "a region's accepting": (
        "fr-CA",
        '"action.accept" = "Refuser le suivi"',
        "action.accept",
        "says no",
    ),
    "a no to be ashamed of": (
        "en",
        '"action.reject" = "No, I want a broken site"',
        "action.reject",
        "ashamed",
    ),
    "a long story": (
        "en",
        f'"action.reject" = "No, {"really " * 6}not"',
        "action.reject",
        "at most 40",
    ),
    "no purposes told": (
        "en",
        '"banner.text.opt_in" = "We use cookies."',
        "banner.text.opt_in",
        "{categories}",
    ),
    "a placeholder of nothing": (
        "en",
        '"banner.title" = "Hello {name}"',
        "banner.title",
        "{name} means nothing",
    ),
    "no such text": ("en", '"banner.titel" = "Hello"', "banner.titel", "no such text"),
}


@pytest.mark.parametrize(
    ("language", "accept"),
    [("en", "Yes, I agree"), ("de", "Ja, gern"), ("pl", "Zgadzam się"), ("fr-CA", "J’accepte")],
)
def test_a_plain_yes_is_taken(language: str, accept: str) -> None:
    assert errors(f'{GOOD}[notice.texts.{language}]\n"action.accept" = "{accept}"\n') == ()


def test_a_language_that_nobody_here_reads_is_said_to_be_unread() -> None:
    words = '"action.accept" = "Godta alle"\n"action.reject" = "Avvis alle"\n'

    found = read(f"{GOOD}[notice.texts.nb]\n{words}").warnings

    assert [w.field for w in found if "not known here" in w.message] == [
        'notice.texts.nb."action.accept"',
        'notice.texts.nb."action.reject"',
    ]


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused(name: str) -> None:
    text, field, message = WRONG[name]

    (problem,) = errors(f"{GOOD}[notice]\n{text}\n")

    assert problem.field == field
    assert message in problem.message
    assert problem.line is not None


@pytest.mark.parametrize("name", DISHONEST)
def test_what_is_not_honest_is_refused(name: str) -> None:
    language, text, key, message = DISHONEST[name]

    found = [p for p in errors(f"{GOOD}[notice.texts.{language}]\n{text}\n") if key in p.field]

    assert len(found) == 1, errors(f"{GOOD}[notice.texts.{language}]\n{text}\n")
    assert message in found[0].message
    assert found[0].field in (f'notice.texts.{language}."{key}"', f"notice.texts.{language}.{key}")


PERIODS = {
    "a refusal that ends before a yes": ("refusal_days = 30\ngrant_days = 60", "refusal_days"),
    "a refusal that ends beside a yes without end": ("refusal_days = 30", "refusal_days"),
    "asked again before the law lets": ("ask_again_days = 183", "ask_again_days"),
    "a cookie that ends before the wait": ("cookie_days = 30", "cookie_days"),
}


@pytest.mark.parametrize("name", PERIODS)
def test_a_refusal_is_kept_at_least_as_long_as_a_yes(name: str) -> None:
    text, key = PERIODS[name]

    assert [p.field for p in errors(f"{GOOD}[notice]\n{text}\n")] == [f"notice.{key}"]


@pytest.mark.parametrize("name", ["advertising", "Ads", "marketing", "sale"])
def test_advertising_is_never_essential(name: str) -> None:
    text = GOOD.replace('"advertising"', f'"{name}"').replace("gpc = true", "essential = true")

    assert [p.field for p in errors(text)] == ["category[1].essential"]


# What is said of a category beside its id, and whether its owner is told to explain it.
EXPLAINED = {
    "not at all": ("", "", True),
    "in the file": ('description = "We talk."', "", False),
    "in own words": ("", '[notice.texts.en]\n"category.chat.description" = "We talk."\n', False),
    "in words for others": ("", '[notice.texts.de]\n"category.chat.description" = "x"\n', True),
    "turned off": ("enabled = false", "", False),
    "essential": ("essential = true", "", False),
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_who_is_asked_is_told_for_what(name: str) -> None:
    more, texts, told = EXPLAINED[name]
    category = f'[[category]]\nid = "chat"\ngpc = false\n{more}\n'
    text = GOOD.replace('["analytics"]', '["analytics", "chat"]', 1)

    found = [w.field for w in read(category + text + texts).warnings if "told what" in w.message]

    assert found == (["category[0]"] if told else [])
