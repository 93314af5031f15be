"""Accept and reject look alike, everything can be read, nothing is lost however small the window is."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.sdk.ui import LAYOUTS, THEMES, Ui, UiPage, given, signed_in

pytestmark = [pytest.mark.browser, pytest.mark.node]

DIRECTIONS = {"ltr": "en", "rtl": "ar"}
SURFACES = [*LAYOUTS, "centre", "topics", "placeholder"]

READABLE, DISTINCT = 4.5, 3.0  # WCAG 2.2: 1.4.3 and 1.4.11

STYLE_OF = """(selector) => {
  const element = [...document.querySelectorAll(selector)].find(e => e.checkVisibility())
  const style = getComputedStyle(element)
  const look = Object.fromEntries([...style].map(name => [name, style.getPropertyValue(name)]))
  for (const name of Object.keys(look))
    if (/^(inset|top|left|right|bottom|perspective-origin|transform-origin|width|height|inline-size|block-size)/.test(name)) delete look[name]
  const { width, height } = element.getBoundingClientRect()
  return { ...look, tag: element.localName, size: [Math.round(width), Math.round(height)].join() }
}"""

# Each visible text with its own colour and the nearest background behind it.
COLOURS = """(() => {
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at)
      if (!/, 0\\)$|transparent/.test(backgroundColor)) return backgroundColor
    }
    return 'rgb(255, 255, 255)'
  }
  const all = [...document.querySelectorAll('.consentry *')].filter(e => e.checkVisibility())
  const texts = all.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
    .map(e => [e.className || e.localName, getComputedStyle(e).color, behind(e)])
  // The way back stands on a page of any colour: its edge and its ring are seen on itself.
  const around = (e) => behind(e.matches('.consentry-reopen button') ? e : e.parentElement)
  const edges = all.filter(e => e.matches('.consentry-plain, input:enabled, .consentry-reopen button'))
    .map(e => [e.className || e.localName, getComputedStyle(e).borderTopColor, around(e)])
  const filled = all.filter(e => e.matches('.consentry-strong'))
    .map(e => [e.className, getComputedStyle(e).backgroundColor, behind(e.parentElement)])
  const rings = all.filter(e => e.matches('button')).map(
    e => ['focus', getComputedStyle(e).getPropertyValue('--c-focus'), around(e)])
  return { texts, controls: [...edges, ...filled, ...rings] }
})()"""


def told(surface: str, theme: str = "light", language: str = "en") -> dict[str, Any]:
    """The page that shows one surface."""
    if surface in LAYOUTS:
        return given(surface, theme, language)
    if surface == "topics":
        return signed_in(given("box", theme, language, show="centre"))
    return given("box", theme, language, show=surface, needs=["functional"])


def channels(colour: str) -> list[float]:
    if colour.strip().startswith("#"):
        digits = colour.strip()[1:]
        wide = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
        return [int(wide[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    found = [float(number) for number in re.findall(r"[\d.]+", colour)]
    assert len(found) == 3, f"{colour} is seen through"
    return [number / 255 for number in found]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_the_measure_of_contrast_is_that_of_wcag() -> None:
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)
    assert contrast("rgb(119, 119, 119)", "#fff") < READABLE


def alike(page: UiPage, one: str, other: str) -> None:
    first, second = (page.run(f"({STYLE_OF})('[data-consentry={name}]')") for name in (one, other))
    differ = {key: (first[key], second.get(key)) for key in first if first[key] != second.get(key)}
    assert differ == {}


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("surface", SURFACES)
def test_every_surface_can_be_read_and_is_fair(
    ui: Ui, surface: str, theme: str, direction: str
) -> None:
    with ui.page(told(surface, theme, DIRECTIONS[direction])) as page:
        assert page.axe() == []
        colours = page.run(COLOURS)
        assert len(colours["texts"]) >= 5
        assert [c for c in colours["texts"] if contrast(*c[1:]) < READABLE] == []
        assert len(colours["controls"]) >= 3
        assert [c for c in colours["controls"] if contrast(*c[1:]) < DISTINCT] == []
        if surface == "placeholder":
            alike(page, "once", "always")
        else:
            alike(page, "accept", "reject")


def test_unlike_buttons_are_noticed(ui: Ui) -> None:
    with ui.page(given()) as page, pytest.raises(AssertionError, match="background-color"):
        alike(page, "accept", "choose")


@pytest.mark.parametrize("theme", THEMES)
def test_auto_follows_the_system(ui: Ui, theme: str) -> None:
    with ui.page(given("box", theme)) as page:
        fixed = page.run(f"({STYLE_OF})('[data-consentry=banner]')")
    with ui.page(given("box", "auto"), colorScheme=theme) as page:
        assert page.run(f"({STYLE_OF})('[data-consentry=banner]')") == fixed


def test_a_theme_is_not_the_other(ui: Ui) -> None:
    backgrounds = set()
    for theme in THEMES:
        with ui.page(given("box", theme)) as page:
            look = page.run(f"({STYLE_OF})('[data-consentry=banner]')")
            backgrounds.add(look["background-color"])
    assert len(backgrounds) == 2


def test_a_site_may_set_its_colours_and_sets_them_for_both(ui: Ui) -> None:
    with ui.page(given()) as page:
        page.run(
            "document.documentElement.style.setProperty('--consentry-accent', 'rgb(1, 100, 2)')"
        )
        for name in ("accept", "reject"):
            look = page.run(f"({STYLE_OF})('[data-consentry={name}]')")
            assert look["background-color"] == "rgb(1, 100, 2)"


# A window of 1280 x 1024 at 400 % is one of 320 x 256.
@pytest.mark.parametrize("language", ["en", "de", "ar"])
@pytest.mark.parametrize("surface", LAYOUTS)
def test_at_400_percent_all_buttons_are_in_view(ui: Ui, surface: str, language: str) -> None:
    small = {"width": 320, "height": 256}
    with ui.page(told(surface, language=language), viewport=small) as page:
        hit = page.run(
            """['reject', 'accept', 'choose'].map(name => {
            const button = document.querySelector(`[data-consentry=${name}]`)
            const { left, right, top, bottom } = button.getBoundingClientRect()
            const corners = [[left + 4, top + 4], [right - 4, bottom - 4]]
            const seen = corners.every(([x, y]) => document.elementFromPoint(x, y) === button)
            return [name, seen, button.scrollWidth <= button.clientWidth]
            })"""
        )
        assert hit == [[name, True, True] for name in ("reject", "accept", "choose")]
        assert page.run(
            "(e => e.scrollWidth <= e.clientWidth)(document.querySelector('[data-consentry=banner]'))"
        )
        assert page.run("document.documentElement.scrollWidth <= 320")
        alike(page, "accept", "reject")


@pytest.mark.parametrize("surface", ["centre", "topics"])
def test_at_400_percent_the_centre_can_be_answered(ui: Ui, surface: str) -> None:
    small = {"width": 320, "height": 256}
    with ui.page(told(surface, language="de"), viewport=small) as page:
        assert page.run(
            "(e => e.scrollWidth <= e.clientWidth)(document.querySelector('[data-consentry=centre]'))"
        )
        page.run("document.querySelector('[value=functional]').click()")
        page.click("save")
        answered = next(heard for heard in page.heard() if heard[0] == "answer")
        assert answered[1]["functional"] is True


def test_nothing_moves_for_who_wants_no_motion(ui: Ui) -> None:
    moving = (
        "document.querySelector('[data-consentry=banner]').getAnimations({subtree: true}).length"
    )
    with ui.page(given(), reducedMotion="reduce") as page:
        assert page.run(moving) == 0
    with ui.page(given(), reducedMotion="no-preference") as page:
        look = page.run(f"({STYLE_OF})('[data-consentry=banner]')")
        assert look["animation-name"] == "consentry-in"


def test_with_the_colours_of_the_system_controls_and_states_stay_visible(ui: Ui) -> None:
    with ui.page(told("centre"), forcedColors="active") as page:
        off = page.run(f"({STYLE_OF})('[value=analytics]')")
        page.run("document.querySelector('[value=analytics]').click()")
        on = page.run(f"({STYLE_OF})('[value=analytics]')")
        assert on["background-color"] != off["background-color"]
        save = page.run(f"({STYLE_OF})('[data-consentry=save]')")
        assert save["border-top-width"] == "2px"
        assert save["border-top-color"] != save["background-color"]
        alike(page, "accept", "reject")


@pytest.mark.parametrize(("language", "side"), [("en", "right"), ("ar", "left")])
def test_the_box_stands_where_the_language_ends(ui: Ui, language: str, side: str) -> None:
    with ui.page(given("box", language=language), viewport={"width": 1000, "height": 700}) as p:
        left = p.run(
            "document.querySelector('[data-consentry=banner]').getBoundingClientRect().left"
        )
        assert (left > 500) == (side == "right")


def test_the_page_does_not_restyle_the_controls(ui: Ui) -> None:
    """The page of these tests has rules for every button, input, label, list and heading."""
    with ui.page(told("centre")) as page:
        look = page.run(f"({STYLE_OF})('.consentry h2')")
        assert look["text-transform"] == "none"
        assert look["font-style"] == "normal"
        assert look["letter-spacing"] == "normal"
        button = page.run(f"({STYLE_OF})('[data-consentry=save]')")
        assert button["text-transform"] == "none"
        assert button["font-size"] == "16px"
