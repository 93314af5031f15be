"""Somebody before a page that needs no script: what is pressed, by the words that stand there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.browser import Browser, Page


class FormPage(Page):
    def check(self, label: str, *, on: bool) -> None:
        self.ask("check", label=label, on=on)

    def checked(self, label: str) -> bool:
        found: bool = self.ask("checked", label=label)
        return found

    def fill(self, label: str, text: str) -> None:
        self.ask("fill", label=label, text=text)

    def submit(self, name: str) -> None:
        """Press a button, and be on the next page."""
        self.ask("submit", name=name)

    def text(self) -> str:
        found: str = self.eval("document.querySelector('main').innerText")
        return found


@contextlib.contextmanager
def reader(
    browser: Browser, url: str, *, javaScriptEnabled: bool = False, **options: Any
) -> Iterator[FormPage]:
    """Somebody new at a page. No script runs, unless told otherwise."""
    with browser.visitor(javaScriptEnabled=javaScriptEnabled, **options) as visitor:
        page: FormPage = visitor.tab(FormPage)
        page.goto(url)
        yield page
