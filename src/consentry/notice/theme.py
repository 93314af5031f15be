"""Whether a site's own colours leave the notice readable, and refusing as plain as accepting.

A theme is a style sheet that sets the custom properties of ``docs/banner.md``. Text has to stand
out from what is behind it (WCAG 2.2, 1.4.3: 4.5) and controls too (1.4.11: 3): a refusal that is
nearly unreadable is misleading (EDPB, Cookie Banner Taskforce, 2023-01-17, 17 to 20). No property
reaches one of the two buttons alone, so a rule that does is refused. What cannot be read is
refused too, for nobody can say that it is honest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import product
from typing import Any, NamedTuple

import tinycss2
from tinycss2.color4 import parse_color

LONGEST = 200_000  # characters
PREFIX = "--consentry-"
READABLE, DISTINCT = 4.5, 3.0
_DEFAULT = re.compile(r"var\(--consentry-([a-z-]+),\s*(#[0-9a-fA-F]{3,8})\)")
_EVERYWHERE = (":root", "html")
_USED = re.compile(r"var\(--consentry-([a-z-]+)")

# What stands on what, and how far apart the two have to be.
PAIRS = (
    ("text", "background", READABLE),
    ("text", "background-soft", READABLE),
    ("text-quiet", "background", READABLE),
    ("text-quiet", "background-soft", READABLE),
    ("on-accent", "accent", READABLE),
    ("on-accent", "accent-hover", READABLE),
    ("accent", "background", DISTINCT),
    ("edge", "background", DISTINCT),
    ("focus", "background", DISTINCT),
)


class ThemeFlaw(NamedTuple):
    """What is wrong, in which property or rule, on which line of the theme (from 1)."""

    line: int
    field: str
    message: str


class _Value(NamedTuple):
    """What a property is set to. ``always`` where no condition and no narrower selector stands."""

    line: int
    text: str
    always: bool = True


def flaws_of_theme(css: str, shipped: str) -> list[ThemeFlaw]:
    """Everything that is wrong with a theme; ``shipped`` is the notice's own style sheet."""
    if len(css) > LONGEST:
        return [ThemeFlaw(1, "", f"is longer than {LONGEST} characters: shorten it")]
    found: list[ThemeFlaw] = []
    set_: dict[str, list[_Value]] = defaultdict(list)
    rules = tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)
    known = set(_USED.findall(shipped))
    for name, value in _properties(rules, found):
        if name in known:
            set_[name].append(value)
        elif name.removeprefix("dark-") in known:
            found.append(ThemeFlaw(value.line, PREFIX + name, "has no dark form: remove it"))
        else:
            found.append(ThemeFlaw(value.line, PREFIX + name, _unknown(name, known)))
    defaults = {name: [_Value(0, text)] for name, text in _DEFAULT.findall(shipped)}
    for dark in ("", "dark-"):
        for upper, under, least in PAIRS:
            found += _too_near(dark + upper, dark + under, least, set_, defaults)
    return sorted(dict.fromkeys(found))


def _properties(
    rules: Sequence[Any], found: list[ThemeFlaw], always: bool = True
) -> Iterator[tuple[str, _Value]]:
    """Each property that is set, without its prefix, wherever it is. Flaws go to ``found``."""
    for rule in rules:
        if rule.type == "error":
            found.append(ThemeFlaw(rule.source_line, "", f"cannot be read: {rule.message}"))
        elif rule.type == "at-rule" and rule.content is not None:
            inner = _inside(rule)
            yield from _properties(inner, found, False)
        elif rule.type == "at-rule":
            if rule.lower_at_keyword == "import":
                message = "what is imported is not looked at: write it here"
                found.append(ThemeFlaw(rule.source_line, "@import", message))
        elif rule.type == "declaration":
            if rule.name.startswith(PREFIX):
                value = tinycss2.serialize(rule.value).strip()
                yield rule.name.removeprefix(PREFIX), _Value(rule.source_line, value, always)
        else:
            selector = tinycss2.serialize(rule.prelude).strip()
            if "consentry" in selector.lower() or _may_reach(rule.prelude):
                message = "reaches into the notice: set the properties on :root and nothing else"
                found.append(ThemeFlaw(rule.source_line, selector, message))
            inner = _inside(rule)
            yield from _properties(inner, found, always and selector in _EVERYWHERE)


# Every class and id of the notice begins with its name, so another one names none of its elements.
_ELEMENTS = frozenset(
    [
        *("a", "button", "details", "dialog", "div", "fieldset", "form", "h1", "h2", "h3"),
        *("iframe", "input", "label", "legend", "li", "nav", "ol", "p", "path", "section"),
        *("small", "span", "strong", "summary", "svg", "ul"),
    ]
)


def _may_reach(prelude: Sequence[Any]) -> bool:
    """Whether an element of the notice may be what a selector is about, wherever it stands.

    Only its last part counts: what stands before it may be anywhere around the notice.
    """
    last: list[Any] = []
    parts: list[list[Any]] = []
    for token in prelude:
        if token.type == "literal" and token.value == ",":
            parts.append(last)
            last = []
        elif token.type == "whitespace" or (token.type == "literal" and token.value in ">+~|"):
            last = last and [*last, None]  # what follows begins a part of its own
        else:
            if last and last[-1] is None:
                last = []
            last.append(token)
    parts.append(last)
    return any(_names_ours([t for t in part if t is not None]) for part in parts)


def _names_ours(compound: Sequence[Any]) -> bool:
    """Whether one part of a selector, without combinators, fits an element of the notice."""
    before = [None, *compound]
    for token, behind in zip(compound, before, strict=False):
        dotted = behind is not None and behind.type == "literal" and behind.value == "."
        if token.type == "hash" or (token.type == "ident" and dotted):
            return False
    first = compound[0] if compound else None
    if first is None:
        return False
    if first.type == "ident":
        return str(first.lower_value) in _ELEMENTS
    if first.type == "literal" and first.value == ":" and len(compound) > 1:
        return compound[1].type != "ident" or str(compound[1].lower_value) != "root"
    return True


def _inside(rule: Any) -> Sequence[Any]:
    found: Sequence[Any] = tinycss2.parse_blocks_contents(
        rule.content, skip_comments=True, skip_whitespace=True
    )
    return found


def _too_near(
    upper: str,
    under: str,
    least: float,
    set_: dict[str, list[_Value]],
    defaults: dict[str, list[_Value]],
) -> Iterator[ThemeFlaw]:
    """Where two colours of which the theme sets one are too much alike, in any combination.

    A property that is set under a condition may have its default elsewhere.
    """
    if upper not in set_ and under not in set_:
        return
    for one, other in product(
        *(_may_be(set_.get(name, []), defaults.get(name, [])) for name in (upper, under))
    ):
        line, name = max((one.line, upper), (other.line, under))
        lights = [_luminance(value.text) for value in (one, other)]
        unread = [n for n, light in zip((upper, under), lights, strict=True) if light is None]
        if unread:
            message = "cannot be compared: write one colour without transparency, such as #24406e"
            yield from (ThemeFlaw(line, PREFIX + n, message) for n in unread if n in set_)
            continue
        apart = contrast(*(light for light in lights if light is not None))
        if apart < least:
            message = (
                f"is {apart:.1f} apart from {PREFIX}{under if name == upper else upper}: "
                f"{least:g} is the least"
            )
            yield ThemeFlaw(line, PREFIX + name, message)


def _may_be(set_: list[_Value], defaults: list[_Value]) -> list[_Value]:
    """What a property comes to: its default too, where it is set under conditions only."""
    return set_ if any(value.always for value in set_) else [*set_, *defaults]


_COMPARED = frozenset({"srgb", "hsl", "hwb"})
"""What tinycss2 makes sRGB of."""


def contrast(one: float, other: float) -> float:
    """How far apart two relative luminances are (WCAG 2.2): 1 for the same, 21 for black on white."""
    lighter, darker = max(one, other), min(one, other)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(text: str) -> float | None:
    """The relative luminance of an opaque colour; None of anything else."""
    colour = parse_color(text)
    if colour is None or colour == "currentcolor" or colour.alpha != 1:
        return None
    # Of other spaces nobody knows here how far apart they are: whoever asks refuses the theme for it.
    if colour.space not in _COMPARED:
        return None
    parts = [part or 0.0 for part in colour.to("srgb").coordinates]
    if not all(0 <= part <= 1 for part in parts):
        return None
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _unknown(name: str, known: set[str]) -> str:
    close = get_close_matches(name, sorted(known), 1)
    return (
        f"there is no such property: did you mean {PREFIX}{close[0]}?"
        if close
        else ("there is no such property")
    )
