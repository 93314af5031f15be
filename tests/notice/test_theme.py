"""A site's own colours: readable, fair, and refused where nobody can tell."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry import sdk
from consentry.notice.theme import contrast, flaws_of_theme

SHIPPED = sdk.files()["consentry-ui.css"].decode()
P = "--consentry-"

# Themes that are fine.
GOOD = {
    "nothing": "",
    "the one of the manual": ":root { --consentry-accent: #0b5d3b; --consentry-font: Inter, sans-serif }",
    "dark too": ":root{--consentry-dark-accent:#9be0c0;--consentry-dark-on-accent:#000}",
    "in words": "html { --consentry-background: white; --consentry-text: black }",
    "as light": ":root { --consentry-accent: hsl(150 80% 20%) }",
    "the rest of the site": "body { color: #999; background: #aaa } .ad { display: none }",
    "what no element of the notice is": "table td, header.top, main > .x, #nav li.on, body.dark { color: #999 }",
    "with a dark page": ":root[data-theme=dark], html.dark { --consentry-accent: #0b5d3b }",
    "a colour scheme": "@media (prefers-contrast: more) { :root { --consentry-text: #000 } }",
    "places": ":root { --consentry-reopen-inline: auto 1em; --consentry-layer: 5 }",
}
# Themes that are not, with the line, the property or rule, and a part of the message.
BAD = {
    "text too pale": (":root {\n--consentry-text: #999 }", 2, P + "text", "apart from --consentry-background"),
    "a background too dark": (":root{--consentry-background:#333}", 1, P + "background", "4.5 is the least"),
    "a button nobody reads": (":root{--consentry-accent:#eee}", 1, P + "accent", "apart from"),
    "an edge nobody sees": (":root{--consentry-edge:#ddd}", 1, P + "edge", "3 is the least"),
    "only in the dark": (":root{--consentry-dark-text:#555}", 1, P + "dark-text", "dark-background"),
    "only on paper": ("@media print{:root{--consentry-text:#eee}}", 1, P + "text", "apart from"),
    "two that do not meet the defaults": (
        "@media (min-width: 1px){:root{--consentry-text:#fff;--consentry-background:#000}}", 1, P + "text", "apart",
    ),
    "half transparent": (":root{--consentry-text:rgb(0 0 0 / 50%)}", 1, P + "text", "cannot be compared"),
    "another property": (":root{--consentry-text:var(--brand)}", 1, P + "text", "cannot be compared"),
    "no colour": (":root{--consentry-text:plain}", 1, P + "text", "cannot be compared"),
    "a smaller refusal": ("[data-consentry=reject] { font-size: 8px }", 1, "[data-consentry=reject]", "reaches into"),
    "by where it stands": (
        "section[aria-labelledby] div > button:first-child { opacity: .15 }", 1,
        "section[aria-labelledby] div > button:first-child", "reaches into",
    ),
    "by the form it is in": (
        "dialog form button:first-of-type{display:none}", 1, "dialog form button:first-of-type", "reaches into",
    ),
    "in a list of others": (".x, .y > button { opacity: 0 }", 1, ".x, .y > button", "reaches into"),
    "everything": ("* { font-size: 6px }", 1, "*", "reaches into"),
    "whatever is no link": (":not(a) { opacity: 0 }", 1, ":not(a)", "reaches into"),
    "by what it has": ("[type=button] { opacity: 0 }", 1, "[type=button]", "reaches into"),
    "one of several": (":is(.x, button) { opacity: 0 }", 1, ":is(.x, button)", "reaches into"),
    "a property for one button": (
        "p ~ button { --consentry-accent: #0b5d3b }", 1, "p ~ button", "reaches into",
    ),
    "nested by where it stands": (".x { & > button { opacity: 0 } }", 1, "& > button", "reaches into"),
    "nested": (".x{[data-consentry=reject]{opacity:0}}", 1, "[data-consentry=reject]", "reaches into"),
    "hidden": ("@media all{#consentry{display:none}}", 1, "#consentry", "reaches into"),
    "imported": ('@import "other.css";', 1, "@import", "not looked at"),
    "misspelt": (":root{--consentry-acent:#000}", 1, P + "acent", "did you mean --consentry-accent"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_fair_theme_is_taken(name: str) -> None:
    assert flaws_of_theme(GOOD[name], SHIPPED) == []


@pytest.mark.parametrize("name", BAD)
def test_an_unfair_one_is_refused(name: str) -> None:
    css, line, field, message = BAD[name]

    found = flaws_of_theme(css, SHIPPED)

    assert [f for f in found if (f.line, f.field) == (line, field) and message in f.message], found


def test_what_ships_is_measured_and_fair() -> None:
    """As a theme of its own, it is refused nothing."""
    import re

    found = re.findall(r"var\((--consentry-[a-z-]+),\s*(#[0-9a-fA-F]+)\)", SHIPPED)
    assert len(dict(found)) >= 18
    theme = ":root{" + ";".join(f"{name}:{value}" for name, value in dict(found).items()) + "}"
    assert flaws_of_theme(theme, SHIPPED) == []


def test_contrast_is_that_of_wcag() -> None:
    assert contrast(0, 1) == pytest.approx(21)
    assert contrast(0.5, 0.5) == 1


@given(st.text(max_size=200) | st.text(alphabet=":root{}-consety#123@;()/*\\ ", max_size=60))
def test_whatever_stands_in_it_there_is_an_answer(css: str) -> None:
    assert isinstance(flaws_of_theme(css, SHIPPED), list)


@given(st.integers(0, 0xFFFFFF), st.integers(0, 0xFFFFFF))
def test_two_colours_that_are_too_near_are_always_refused(text: int, background: int) -> None:
    css = f":root{{{P}text:#{text:06x};{P}background:#{background:06x};{P}background-soft:#{background:06x}}}"

    def light(colour: int) -> float:
        parts = [(colour >> shift & 255) / 255 for shift in (16, 8, 0)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    refused = [f for f in flaws_of_theme(css, SHIPPED) if f.field in (P + "text", P + "background")]
    if contrast(light(text), light(background)) < 4.5:
        assert refused


def test_the_command_refuses_it(tmp_path: Path) -> None:
    from tests.cli.place import run

    config, theme = tmp_path / "c.toml", tmp_path / "theme.css"
    config.write_text('[workspace]\nname = "Acme"\n')
    theme.write_text(":root {\n  --consentry-text: #bbb;\n}\n")
    result = run("check", str(config), "--theme", str(theme))
    assert result.exit_code == 1
    assert f"error: line 2, {theme}: --consentry-text: is" in result.stdout
    theme.write_text(GOOD["the one of the manual"])
    assert run("check", str(config), "--theme", str(theme)).exit_code == 0
