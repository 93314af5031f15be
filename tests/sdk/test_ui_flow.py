"""What a person does with the banner and the preference centre, and what the loader is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sdk.ui import LAYOUTS, Ui, category, given

pytestmark = [pytest.mark.browser, pytest.mark.node]

YES = {"functional": True, "analytics": True, "advertising": True}
NO = dict.fromkeys(YES, False)
SHOWN = ["shown", "banner"]
CENTRE_SHOWN = ["shown", "preference_centre"]
CLOSED = ["closed", "banner"]
CENTRE_CLOSED = ["closed", "preference_centre"]
OPT_OUT = [
    category("essential", essential=True, default=True),
    category("analytics", regime="opt_out", default=True),
    category("advertising", regime="opt_out", default=True, gpc=True),
]
SIGNAL = {"covers": ["advertising"], "honoured": True, "show": True}


def with_policy(told: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {**told, "policy": {**told["policy"], **members}}


def switches(page: Any) -> dict[str, str]:
    """Each category's switch: on or off, and whether it can be moved."""
    found: dict[str, str] = page.run(
        """Object.fromEntries([...document.querySelectorAll('[data-consentry=switch]')].map(
        e => [e.value, (e.checked ? 'on' : 'off') + (e.disabled ? ', fixed' : '')]))"""
    )
    return found


def banner_text(page: Any) -> str:
    found: str = page.run("document.querySelector('[data-consentry=banner]').innerText")
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("button", "choice", "action"), [("accept", YES, "accept_all"), ("reject", NO, "reject_all")]
)
def test_one_click_answers(
    ui: Ui, layout: str, button: str, choice: dict[str, bool], action: str
) -> None:
    """As many activations for a no as for a yes: one, on the first layer."""
    with ui.page(given(layout)) as page:
        page.click(button)
        assert page.heard() == [SHOWN, ["answer", choice, action, "banner"]]
        assert not page.has("banner")
        assert page.has("open")
        assert page.run("document.querySelector('[role=status]').textContent") == (
            "Your choice is saved."
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_choosing_starts_from_no_and_saves_what_is_shown(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        page.click("choose")
        assert not page.has("banner")
        assert switches(page) == {
            "essential": "on, fixed",
            "functional": "off",
            "analytics": "off",
            "advertising": "off",
        }
        page.run("document.querySelector('[value=analytics]').click()")
        page.click("save")
        chosen = {**NO, "analytics": True}
        assert page.heard() == [
            SHOWN,
            CENTRE_SHOWN,
            ["answer", chosen, "save", "preference_centre"],
        ]
        assert not page.has("centre")
        assert not page.has("banner")


@pytest.mark.parametrize(
    ("button", "choice", "action"), [("accept", YES, "accept_all"), ("reject", NO, "reject_all")]
)
def test_the_centre_answers_at_once_too(
    ui: Ui, button: str, choice: dict[str, bool], action: str
) -> None:
    with ui.page(given(show="centre")) as page:
        page.click(button)
        assert page.heard() == [CENTRE_SHOWN, ["answer", choice, action, "preference_centre"]]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_closing_the_centre_goes_back_to_the_banner(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        page.click("choose")
        page.run("document.querySelector('[value=analytics]').click()")
        page.click("close")
        assert page.heard() == [SHOWN, CENTRE_SHOWN, CENTRE_CLOSED]
        assert page.has("banner")
        assert page.focused() == "choose"
        page.click("choose")
        assert switches(page)["analytics"] == "off"


def test_the_way_back_shows_what_is_in_force_and_withdraws(ui: Ui) -> None:
    in_force = {"essential": True, "functional": False, "analytics": True, "advertising": True}
    with ui.page(given(show="", answered=True, categories_now=in_force)) as page:
        page.click("open")
        assert switches(page) == {
            "essential": "on, fixed",
            "functional": "off",
            "analytics": "on",
            "advertising": "on",
        }
        page.click("reject")
        assert page.heard() == [CENTRE_SHOWN, ["answer", NO, "reject_all", "preference_centre"]]
        assert page.focused() == "open"
        page.click("open")
        assert switches(page)["analytics"] == "off"


def test_an_answer_elsewhere_counts_here(ui: Ui) -> None:
    """Another tab answered: nobody asks again, and open switches move."""
    with ui.page(given()) as page:
        page.click("choose")
        page.run("window.elsewhere({analytics: true})")
        assert switches(page)["analytics"] == "on"
        page.click("close")
        assert not page.has("banner")
        assert page.has("open")


def test_what_changed_is_named(ui: Ui) -> None:
    told = given(asking={"why": "changed", "changed": ["advertising"]})
    with ui.page(told) as page:
        assert "New since your last answer: Advertising." in banner_text(page)
        page.click("choose")
        marked = page.run(
            "[...document.querySelectorAll('.consentry-new')].map(e => e.closest('li').dataset.consentryCategory)"
        )
        assert marked == ["advertising"]


def test_another_notice_is_said_to_be_one(ui: Ui) -> None:
    with ui.page(given(asking={"why": "changed", "changed": []})) as page:
        assert "Our notice has changed since your last answer" in banner_text(page)


def test_an_answer_that_ran_out_is_said_to_have(ui: Ui) -> None:
    with ui.page(given(asking={"why": "expired", "changed": []})) as page:
        assert "Your last answer is no longer valid, so we ask again." in banner_text(page)


def test_a_first_visit_says_neither(ui: Ui) -> None:
    with ui.page(given()) as page:
        text = banner_text(page)
        assert "last answer" not in text
        assert "Functional, Statistics, and Advertising" in text
        assert "Nothing of this happens unless you agree" in text


def test_opt_out_says_that_it_happens_already(ui: Ui) -> None:
    with ui.page(given(categories=OPT_OUT)) as page:
        text = banner_text(page)
        assert "We use cookies and similar techniques for: Statistics and Advertising." in text
        assert "unless you agree" not in text
        page.click("choose")
        assert switches(page) == {
            "essential": "on, fixed",
            "analytics": "on",
            "advertising": "on",
        }
        page.click("reject")
        no = {"analytics": False, "advertising": False}
        assert page.heard()[-1] == ["answer", no, "reject_all", "preference_centre"]


def test_regimes_that_differ_are_told_apart(ui: Ui) -> None:
    mixed = [OPT_OUT[0], OPT_OUT[1], category("advertising")]
    with ui.page(given(categories=mixed)) as page:
        text = banner_text(page)
        assert "would like to use cookies and similar techniques for: Advertising." in text
        assert "We use cookies and similar techniques for: Statistics." in text
        page.click("choose")
        assert switches(page) == {
            "essential": "on, fixed",
            "analytics": "on",
            "advertising": "off",
        }


def test_an_honoured_signal_is_shown(ui: Ui) -> None:
    told = given(categories=OPT_OUT, gpc=True)
    told = with_policy(told, gpc=SIGNAL)
    told["categories"]["advertising"] = False
    with ui.page(told) as page:
        text = banner_text(page)
        assert "Opt-out request honored" in text
        assert "We treat it as a no to: Advertising." in text
        assert "We use cookies and similar techniques for: Statistics." in text
        page.click("choose")
        assert switches(page)["advertising"] == "off"
        assert page.has("gpc")
        note = page.run(
            "document.querySelector('[data-consentry-category=advertising] .consentry-note').innerText"
        )
        assert note == "Your browser asks us not to use this."


@pytest.mark.parametrize("show", ["banner", "centre"])
def test_a_yes_to_all_is_no_yes_to_what_the_signal_refuses(ui: Ui, show: str) -> None:
    """Only its own switch outweighs the signal."""
    told = with_policy(given(categories=OPT_OUT, gpc=True, show=show), gpc=SIGNAL)
    told["categories"]["advertising"] = False
    with ui.page(told) as page:
        page.click("accept")
        assert page.heard()[-1][1] == {"analytics": True, "advertising": False}
        page.click("open")
        page.run("document.querySelector('[value=advertising]').click()")
        page.click("save")
        assert page.heard()[-1][1] == {"analytics": True, "advertising": True}
        open_ = page.run("document.querySelector('[data-consentry=open]').innerText")
        assert "honored" not in open_
        page.click("open")
        page.click("accept")
        assert page.heard()[-1][1] == {"analytics": True, "advertising": True}


def test_where_nothing_can_be_answered_there_is_no_way_back(ui: Ui) -> None:
    with ui.page(given(categories=[OPT_OUT[0]], show="")) as page:
        assert not page.has("open")


@pytest.mark.parametrize(
    ("sent", "signal"), [(False, SIGNAL), (True, {**SIGNAL, "honoured": False})]
)
def test_nothing_is_called_honoured_that_is_not(ui: Ui, sent: bool, signal: dict[str, Any]) -> None:
    with ui.page(with_policy(given(categories=OPT_OUT, gpc=sent), gpc=signal)) as page:
        assert "honored" not in banner_text(page)
        page.click("choose")
        assert not page.has("gpc")


def test_an_honoured_signal_is_shown_where_nothing_is_asked(ui: Ui) -> None:
    """Also on a page that has a way back of its own (CCPA regulations 7025(c)(6))."""
    told = with_policy(given(categories=OPT_OUT, gpc=True, show="", own_link=True), gpc=SIGNAL)
    with ui.page(told) as page:
        found = page.run("document.querySelector('[data-consentry=open]').innerText")
        assert "Opt-out request honored" in found


def test_a_page_with_its_own_way_back_needs_no_second(ui: Ui) -> None:
    with ui.page(given(show="", own_link=True)) as page:
        assert not page.has("open")


def test_what_the_law_forbids_cannot_be_answered(ui: Ui) -> None:
    forbidden = [
        category("essential", essential=True, default=True),
        category("analytics"),
        category("advertising", prohibited=True, default=True),
    ]
    with ui.page(given(categories=forbidden)) as page:
        assert "Advertising" not in banner_text(page)
        page.click("choose")
        assert switches(page)["advertising"] == "off, fixed"
        assert "the law where you are does not allow it" in page.run(
            "document.querySelector('[data-consentry-category=advertising]').innerText"
        )
        page.click("accept")
        assert page.heard()[-1][1] == {"analytics": True}


def test_who_is_behind_a_category_is_named(ui: Ui) -> None:
    with ui.page(given(show="centre")) as page:
        row = "document.querySelector('[data-consentry-category=advertising]')"
        page.run(f"{row}.querySelector('summary').click()")
        text = page.run(f"{row}.querySelector('details').innerText")
        assert "Ad network" in text
        assert "Ad pixel (ads.example, px.example)" in text


def test_a_placeholder_loads_once_without_an_answer(ui: Ui) -> None:
    with ui.page(given(show="placeholder", needs=["functional"])) as page:
        text = page.run("document.querySelector('[data-consentry=placeholder]').innerText")
        assert "video.example" in text
        assert "Functional" in text
        assert page.run("document.querySelector('#video').checkVisibility()") is False
        page.click("once")
        assert page.heard() == [["once", "video"]]
        assert not page.has("placeholder")
        assert page.run("document.querySelector('#video').checkVisibility()") is True


def test_under_a_policy_of_the_server_nothing_is_offered_once(ui: Ui) -> None:
    there = given(show="placeholder", needs=["functional"])
    there["policy"]["pagePolicy"] = True
    with ui.page(there) as page:
        text = page.run("document.querySelector('[data-consentry=placeholder]').innerText")
        assert "cannot be loaded just once" in text
        assert not page.has("once")
        page.click("always")
        assert page.heard() == [["answer", {"functional": True}, "save", "placeholder"]]


def test_a_placeholder_says_that_the_signal_is_honoured(ui: Ui) -> None:
    there = given(show="placeholder", needs=["functional", "advertising"], gpc=True)
    there["policy"]["gpc"] = {"covers": ["advertising"], "honoured": True, "show": True}
    with ui.page(there) as page:
        text = page.run("document.querySelector('[data-consentry=placeholder]').innerText")
        assert "Your browser asks us not to use this." in text


def test_a_placeholder_leads_to_who_is_behind_it(ui: Ui) -> None:
    with ui.page(given(show="placeholder", needs=["functional"])) as page:
        page.click("behind")
        assert page.has("centre")
        page.press("Escape")
        assert page.run("document.activeElement.dataset.consentry") == "behind"
        assert page.has("placeholder")


def test_a_placeholder_that_is_always_allowed_answers_for_its_category_alone(
    ui: Ui,
) -> None:
    with ui.page(given(show="placeholder", needs=["functional"])) as page:
        page.click("always")
        assert page.heard() == [["answer", {"functional": True}, "save", "placeholder"]]
        assert not page.has("placeholder")


def test_a_placeholder_goes_when_the_answer_comes_from_elsewhere(ui: Ui) -> None:
    with ui.page(given(show="placeholder", needs=["functional", "analytics"])) as page:
        page.run("window.elsewhere({functional: true})")
        assert page.has("placeholder")
        page.run("window.elsewhere({analytics: true})")
        assert not page.has("placeholder")


@pytest.mark.parametrize("needs", [["advertising"], ["unheard_of"]])
def test_a_placeholder_offers_nothing_that_cannot_be_had(ui: Ui, needs: list[str]) -> None:
    forbidden = [category("functional"), category("advertising", prohibited=True)]
    with ui.page(given(categories=forbidden, show="placeholder", needs=needs)) as page:
        assert page.has("placeholder")
        assert not page.has("once")
        assert not page.has("always")


@pytest.mark.parametrize("address", ["javascript:alert(1)", "data:text/html,x", None])
def test_only_pages_are_linked_as_the_privacy_policy(ui: Ui, address: str | None) -> None:
    told = given()
    told["policy"]["notice"]["privacyUrl"] = address
    with ui.page(told) as page:
        assert not page.has("privacy")


def test_texts_are_never_markup(ui: Ui) -> None:
    told = given(categories=[category("analytics", name="<img src=x onerror=alert(1)>")])
    told["policy"]["texts"]["banner.title"] = "<script>alert(1)</script>"
    with ui.page(told) as page:
        assert "<script>alert(1)</script>" in banner_text(page)
        page.click("choose")
        assert (
            page.run("document.querySelectorAll('.consentry img, .consentry script').length") == 0
        )
