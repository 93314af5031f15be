"""Takes the pictures of docs/banner.md again: ``make screenshots``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.browser import launched
from tests.sdk.ui import CATEGORIES, LAYOUTS, ROOT, THEMES, given, pages, signed_in

FOLDER = ROOT / "docs" / "screenshots"
WIDE = {"width": 1080, "height": 620}
TALL = {"width": 1080, "height": 920}
LONG = {"width": 1080, "height": 1640}
NARROW = {"width": 390, "height": 720}
SIGNAL = {"covers": ["advertising"], "honoured": True, "show": True}


class Picture(NamedTuple):
    """One file: what is shown, and the window that it is shown in."""

    name: str
    told: dict[str, Any]
    window: dict[str, int]
    theme: str = "light"


def pictures() -> Iterator[Picture]:
    for surface, window in [*((layout, WIDE) for layout in LAYOUTS), ("centre", TALL)]:
        layout, show = ("box", "centre") if surface == "centre" else (surface, "banner")
        for theme in THEMES:
            yield Picture(f"{surface}-{theme}", given(layout, theme, show=show), window, theme)
        yield Picture(f"{surface}-rtl", given(layout, language="ar", show=show), window)
        yield Picture(f"{surface}-mobile", given(layout, language="de", show=show), NARROW)
    for name, theme, language, window in (
        ("light", "light", "en", LONG),
        ("dark", "dark", "en", LONG),
        ("rtl", "light", "ar", LONG),
        ("mobile", "light", "de", {**NARROW, "height": 2060}),
    ):
        there = signed_in(given("box", theme, language, show="centre"))
        yield Picture(f"topics-{name}", there, window, theme)
    placeholder = given(show="placeholder", needs=["functional"])
    yield Picture("placeholder-light", placeholder, WIDE)
    yield Picture("signal-light", signalled(), TALL)


def signalled() -> dict[str, Any]:
    """An opt-out region, a browser that sends the signal, and a category that the law forbids."""
    there = [{**c, "regime": "opt_out", "default": True} for c in CATEGORIES]
    there[1] = {**there[1], "id": "personalization", "tags": [], "prohibited": True}
    told = given(categories=there, gpc=True, show="centre")
    told["policy"]["gpc"] = SIGNAL
    told["categories"]["advertising"] = False
    return told


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(exist_ok=True)
    with launched() as browser, pages(browser) as ui:
        for picture in pictures():
            context = {"viewport": picture.window, "colorScheme": picture.theme}
            with ui.page(picture.told, **context) as page:
                page.shot(folder / f"{picture.name}.webp")


if __name__ == "__main__":
    main()
