"""Topics in the preference centre: how they are named, told by, reached and answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.ui import TOPICS, Ui, UiPage, given, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.node]

LANGUAGES = ["ar", "de", "el", "en", "es", "fr", "it", "nl", "pl", "pt", "sv"]
ADA = {"userId": "ada"}


def told(language: str = "en", **other: Any) -> dict[str, Any]:
    return signed_in(given(language=language, show="centre", **other))


def group(page: UiPage, at: int) -> list[Any]:
    """A topic: its name, then each channel with its state in words."""
    found: list[Any] = page.run(
        f"""(group => [document.getElementById(group.getAttribute('aria-labelledby')).textContent,
        ...[...group.querySelectorAll('label')].map(label => label.innerText.split(/\\n+/))])(
        document.querySelectorAll('[data-consentry=topics] [role=group]')[{at}])"""
    )
    return found


def test_each_topic_is_named_with_its_channels_and_what_holds(ui: Ui) -> None:
    with ui.page(told()) as page:
        legend = "document.querySelector('[data-consentry=topics] legend').textContent"
        assert page.run(legend) == "What we may send you"
        assert group(page, 0) == [
            "Newsletter",
            ["E-mail", "On"],
            ["SMS", "Off"],
            ["Letter", "Off"],
        ]
        # The server said nothing of these: nothing is on that is not known to be.
        assert group(page, 1) == ["Readings", ["E-mail", "Off"], ["Push message", "Off"]]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_the_words(ui: Ui, language: str) -> None:
    there = told(language)
    texts = there["policy"]["texts"]
    with ui.page(there) as page:
        for at, topic in enumerate(TOPICS):
            words = [texts[f"page.channel.{channel}"] for channel in topic["channels"]]
            assert [row[0] for row in group(page, at)[1:]] == words


def test_a_channel_of_ones_own_is_called_as_it_is(ui: Ui) -> None:
    there = told()
    there["policy"]["topics"] = [{"id": "news", "name": "Newsletter", "channels": ["pigeon"]}]
    with ui.page(there) as page:
        assert group(page, 0) == ["Newsletter", ["pigeon", "Off"]]


def test_with_the_keyboard_alone(ui: Ui) -> None:
    """From the last category on, in the order of the page; Space switches, and says so in words."""
    with ui.page(told()) as page:
        page.run(
            "[...document.querySelectorAll('[data-consentry=category] summary')].pop().focus()"
        )
        stops = []
        for _ in range(11):
            page.press("Tab")
            stops.append(page.run("(e => [e.name, e.value].filter(Boolean).join(' ') || e.dataset.consentry)(document.activeElement)"))  # fmt: skip
        switches = ["news email", "news sms", "news post", "readings email", "readings push"]
        assert stops == [*switches, *["email", "sms", "post", "push"], "privacy", "reject"]
        page.run("document.querySelector('[name=readings][value=push]').focus()")
        page.press("Space")
        assert group(page, 1)[2] == ["Push message", "On"]
        page.click("save")
        choice = {
            "news": {"email": True, "sms": False, "post": False},
            "readings": {"email": False, "push": True},
        }
        assert page.heard()[-1] == ["topics", ADA, choice]


def test_a_change_elsewhere_moves_no_topic(ui: Ui) -> None:
    """What another tab says is about categories."""
    with ui.page(told()) as page:
        page.run("window.elsewhere({analytics: true})")
        assert group(page, 0)[1] == ["E-mail", "On"]


@pytest.mark.parametrize(
    ("button", "heard"),
    [
        ("accept", None),
        ("reject", {"news": {"email": False, "sms": False, "post": False}, "readings": {"email": False, "push": False}}),
    ],
)  # fmt: skip
def test_what_each_button_says_of_them(ui: Ui, button: str, heard: Any) -> None:
    with ui.page(told()) as page:
        page.click(button)
        said = [topics for what, _, topics, *_ in (h for h in page.heard() if h[0] == "topics")]
        assert said == ([] if heard is None else [heard])


def test_closing_says_nothing(ui: Ui) -> None:
    with ui.page(told()) as page:
        page.run("document.querySelector('[name=news][value=sms]').click()")
        page.press("Escape")
        assert [h for h in page.heard() if h[0] in ("topics", "answer")] == []


def test_a_channel_is_stopped_as_a_whole_by_one_press(ui: Ui) -> None:
    """At once; what else was switched stays unsaved, and can be saved."""
    with ui.page(told()) as page:
        page.run("document.querySelector('[name=readings][value=push]').click()")
        page.run("document.querySelector('[data-consentry=stop][value=email]').focus()")
        page.press("Enter")
        page.run("new Promise((done) => setTimeout(done))")
        assert page.heard()[-1] == ["topics", ADA, {"email": False}]
        focused = "document.activeElement.textContent"
        assert page.run(focused) == "Stopped: nothing comes this way."
        assert group(page, 0)[1] == ["E-mail", "Off"]
        assert not page.has("stop][value=email")
        page.click("save")
        choice = {
            "news": {"email": False, "sms": False, "post": False},
            "readings": {"email": False, "push": True},
        }
        assert page.heard()[-1] == ["topics", ADA, choice]


def test_each_stop_says_of_which_channel(ui: Ui) -> None:
    with ui.page(told("de")) as page:
        names = page.run(
            """[...document.querySelectorAll('[data-consentry=stop]')].map((button) =>
            button.getAttribute('aria-labelledby').split(' ')
              .map((id) => document.getElementById(id).textContent).join(' '))"""
        )
        assert names[:2] == ["E-Mail Alles stoppen", "SMS Alles stoppen"]
