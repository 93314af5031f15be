"""With the keyboard alone, and for who listens: order, names, focus, Escape."""

from __future__ import annotations

import pytest

from tests.sdk.ui import LAYOUTS, Ui, UiPage, given

pytestmark = [pytest.mark.browser, pytest.mark.node]

AT_THE_EDGE = ["bar", "box"]
WINDOWS = [{"width": 1000, "height": 600}, {"width": 360, "height": 560}]

COVERED = """(() => {
  const focus = document.activeElement.getBoundingClientRect()
  const banner = document.querySelector('[data-consentry=banner]').getBoundingClientRect()
  return focus.top >= banner.top && focus.bottom <= banner.bottom
      && focus.left >= banner.left && focus.right <= banner.right
})()"""


def stops(page: UiPage, most: int, key: str = "Tab") -> list[str]:
    """Where the Tab key goes, one after another."""
    found = []
    for _ in range(most):
        page.press(key)
        found.append(page.focused())
    return found


@pytest.mark.parametrize("layout", AT_THE_EDGE)
def test_a_banner_at_the_edge_is_a_named_region_met_first(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        assert page.focused() == "body"  # nothing was taken from the person
        banner = "document.querySelector('[data-consentry=banner]')"
        assert page.run(f"{banner}.localName") == "section"
        assert page.run(f"{banner}.getAttribute('aria-modal')") is None
        label = f"document.getElementById({banner}.getAttribute('aria-labelledby')).textContent"
        assert page.run(label) == "May we use your data?"
        assert page.run("document.body.firstElementChild.contains(" + banner + ")")
        assert stops(page, 5) == ["privacy", "reject", "accept", "choose", "home"]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("steps", "action"), [(2, "reject_all"), (3, "accept_all")])
@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_keys_answer(ui: Ui, layout: str, steps: int, action: str, key: str) -> None:
    with ui.page(given(layout)) as page:
        page.press(*["Tab"] * steps, key)
        assert page.heard()[-1][2] == action
        assert page.focused() == "body"
        assert stops(page, 1) == ["home"]  # on from the start of the page


def test_a_modal_banner_is_a_dialog_that_keeps_the_focus(ui: Ui) -> None:
    with ui.page(given("modal")) as page:
        banner = "document.querySelector('[data-consentry=banner]')"
        assert page.run(f"{banner}.localName") == "dialog"
        assert page.run(f"{banner}.matches(':modal')")  # the rest of the page is inert
        assert page.run(f"{banner}.getAttribute('aria-modal')") == "true"
        assert page.focused() == "consentry-title"  # and Enter there answers nothing
        page.press("Enter", "Space")
        assert page.heard() == [["shown", "banner"]]
        around = ["privacy", "reject", "accept", "choose"]
        assert stops(page, 5) == [*around, "privacy"]
        assert stops(page, 2, "Shift+Tab") == ["choose", "accept"]


def test_backwards_from_the_heading_stays_in_the_dialog(ui: Ui) -> None:
    with ui.page(given("modal")) as page:
        assert stops(page, 1, "Shift+Tab") == ["choose"]


def test_a_page_behind_a_dialog_cannot_be_used(ui: Ui) -> None:
    with ui.page(given("modal")) as page:
        page.run("document.querySelector('#home').focus()")
        assert page.focused() != "home"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_escape_is_no_answer(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        page.press("Tab", "Escape")
        assert page.heard() == [["shown", "banner"], ["closed", "banner"]]
        assert not page.has("banner")
        assert page.has("open")


@pytest.mark.parametrize("layout", AT_THE_EDGE)
def test_escape_elsewhere_is_the_pages_own(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        page.run("document.querySelector('#home').focus()")
        page.press("Escape")
        assert page.has("banner")


def test_escape_twice_at_once_is_no_answer(ui: Ui) -> None:
    """A browser lets a dialog object once; the second time it closes it without asking."""
    with ui.page(given("modal")) as page:
        page.run("document.querySelector('dialog').requestClose()")
        page.run("document.querySelector('dialog')?.close()")
        assert ["closed", "banner"] in page.heard()
        assert "answer" not in {entry[0] for entry in page.heard()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_escape_in_the_centre_returns_to_what_opened_it(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        page.press("Tab", "Tab", "Tab", "Tab", "Enter")
        assert page.focused() == "consentry-centre-title"
        page.press("Escape")
        assert page.focused() == "choose"
        assert page.has("banner")
        assert [entry[0] for entry in page.heard()] == ["shown", "shown", "closed"]


def test_the_centre_returns_to_the_way_back(ui: Ui) -> None:
    with ui.page(given(show="")) as page:
        page.run("document.querySelector('[data-consentry=open]').focus()")
        page.press("Enter")
        assert page.has("centre")
        page.press("Escape")
        assert page.focused() == "open"


def test_the_centre_with_the_keyboard(ui: Ui) -> None:
    with ui.page(given(show="centre")) as page:
        around = ["close", "switch", "summary", "switch", "summary", "switch", "summary"]
        around += ["privacy", "reject", "accept", "save"]
        assert stops(page, 12) == [*around, "close"]
        page.press("Tab", "Space")  # the first switch
        page.press("Shift+Tab", "Shift+Tab", "Enter")  # back round to save
        no = {"functional": True, "analytics": False, "advertising": False}
        assert page.heard()[-1] == ["answer", no, "save", "preference_centre"]


def test_switches_say_what_they_are(ui: Ui) -> None:
    with ui.page(given(show="centre")) as page:
        described = page.run(
            """[...document.querySelectorAll('[data-consentry=switch]')].map(e => [
            e.getAttribute('role'), e.labels[0].querySelector('.consentry-name').textContent,
            document.getElementById(e.getAttribute('aria-describedby')).textContent !== '',
            e.labels[0].querySelector('.consentry-state').textContent])"""
        )
        assert described == [
            ["switch", "Necessary", True, "Always on"],
            ["switch", "Functional", True, "Off"],
            ["switch", "Statistics", True, "Off"],
            ["switch", "Advertising", True, "Off"],
        ]
        page.run("document.querySelector('[value=analytics]').click()")
        assert (
            page.run("document.querySelector('[value=analytics]').previousSibling.textContent")
            == "On"
        )


def test_what_is_saved_is_announced(ui: Ui) -> None:
    with ui.page(given()) as page:
        assert page.run("document.querySelector('[role=status]').textContent") == ""
        page.click("reject")
        assert page.run("document.querySelector('[role=status]').textContent") != ""


@pytest.mark.parametrize("window", WINDOWS, ids=lambda size: f"{size['width']}px")
@pytest.mark.parametrize("layout", AT_THE_EDGE)
def test_what_has_the_focus_is_not_under_the_banner(
    ui: Ui, layout: str, window: dict[str, int]
) -> None:
    """WCAG 2.2, 2.4.11; down to the last link of the page, and up again."""
    with ui.page(given(layout), viewport=window) as page:
        page.run("document.querySelector('[data-consentry=choose]').focus()")
        for key, last in (("Tab", "last"), ("Shift+Tab", "home")):
            reached = ""
            while reached != last:
                page.press(key)
                reached = page.focused()
                assert reached not in ("body", "choose"), "the page's links were all passed"
                assert page.run(COVERED) is False, reached


def test_what_has_the_focus_is_not_under_the_way_back(ui: Ui) -> None:
    """At the end of a page there is nothing to scroll to: the button steps aside, and is next."""
    small = {"width": 360, "height": 560}
    with ui.page(given(show=""), viewport=small) as page:
        opacity = (
            "new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame)).then("
            "() => getComputedStyle(document.querySelector('.consentry-reopen')).opacity)"
        )
        assert page.run(opacity) == "1"
        page.run(
            "(b => document.querySelector('#last').style.cssText = `position: fixed; "
            "left: ${b.left + 4}px; top: ${b.top + 4}px`)"
            "(document.querySelector('.consentry-reopen').getBoundingClientRect())"
        )
        page.run("document.querySelector('#last').focus()")
        assert page.run(opacity) == "0"
        page.press("Tab")
        assert page.focused() == "open"
        assert page.run(opacity) == "1"


def test_the_page_is_left_as_it_was(ui: Ui) -> None:
    with ui.page(given("bar")) as page:
        room = "getComputedStyle(document.body, '::after').height"
        assert page.run(room) not in ("auto", "0px")
        page.click("reject")
        assert page.run(room) == "auto"
        assert page.run("document.documentElement.getAttribute('style') || ''") == ""
