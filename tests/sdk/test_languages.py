"""The languages say the same things, each in its own words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

LANG = Path(__file__).parents[2] / "sdk" / "js" / "lang"
ENGLISH: dict[str, str] = json.loads((LANG / "en.json").read_text())
PROMISED = {"en", "de", "fr", "es", "it", "nl", "pl", "pt", "sv", "el", "ar"}
OTHERS = sorted(file.stem for file in LANG.glob("*.json") if file.stem != "en")
RIGHT_TO_LEFT = {"ar", "fa", "he", "ur"}

# No softening, and no hiding behind another act (EDPB taskforce 2023, CNIL 2024-12-12).
REFUSALS = {
    "en": "Reject all",
    "de": "Alle ablehnen",
    "fr": "Tout refuser",
    "es": "Rechazar todo",
    "it": "Rifiuta tutto",
    "nl": "Alles weigeren",
    "pl": "Odrzuć wszystko",
    "pt": "Rejeitar tudo",
    "sv": "Neka alla",
    "el": "Απόρριψη όλων",
    "ar": "رفض الكل",
}


def texts(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((LANG / f"{language}.json").read_text())
    return found


def slots(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w*\}", text))


def test_the_promised_languages_are_here() -> None:
    assert {"en", *OTHERS} >= PROMISED


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_has_every_key_in_the_same_order(language: str) -> None:
    assert list(texts(language)) == list(ENGLISH)


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_fills_the_same_slots(language: str) -> None:
    found = texts(language)
    assert {key: slots(found[key]) for key in ENGLISH} == {
        key: slots(text) for key, text in ENGLISH.items()
    }


@pytest.mark.parametrize("language", ["en", *OTHERS])
def test_texts_are_plain_and_say_something(language: str) -> None:
    for key, text in texts(language).items():
        assert isinstance(text, str), key
        assert text == text.strip(), key
        assert text, key
        assert not re.search(r"[<>&]", text), key  # nothing is ever read as markup


@pytest.mark.parametrize("language", ["en", *OTHERS])
def test_the_direction_is_that_of_the_script(language: str) -> None:
    expected = "rtl" if language.partition("-")[0] in RIGHT_TO_LEFT else "ltr"
    assert texts(language)["direction"] == expected


@pytest.mark.parametrize("language", sorted(PROMISED))
def test_a_refusal_is_a_refusal(language: str) -> None:
    """A plain no to everything, and about as long as the yes beside it."""
    found = texts(language)
    assert found["action.reject"] == REFUSALS[language]
    assert found["page.preferences.withdraw"] == REFUSALS[language]
    assert len(found["action.reject"]) <= 1.5 * len(found["action.accept"])


@pytest.mark.parametrize("language", OTHERS)
def test_a_language_is_translated(language: str) -> None:
    """What may be alike in two languages is short: a name, an abbreviation."""
    found = texts(language)
    alike = {key for key in ENGLISH if found[key] == ENGLISH[key]}
    assert alike <= {"direction", "page.channel.email", "page.channel.sms"}
