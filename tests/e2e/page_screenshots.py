"""Takes the pictures of docs/preference-pages.md again: ``make screenshots``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.browser import launched
from tests.e2e.asking import choose
from tests.e2e.page_browser import reader
from tests.e2e.paging import PAGES, link, shop, sign_up, smtp
from tests.mailbox import link_in, mailbox

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
WIDE = {"viewport": {"width": 880, "height": 900}}
LOW = {"viewport": {"width": 880, "height": 520}}
NARROW = {"viewport": {"width": 390, "height": 1120}}


def main(folder: Path = FOLDER) -> None:
    with (
        tempfile.TemporaryDirectory() as place,
        mailbox() as box,
        shop(Path(place), PAGES, smtp(box)) as server,
        launched() as browser,
    ):
        who = {"email": "ann@example.com"}
        choose(server, who, {"analytics": True}, topics={"news": {"email": True}})
        sign_up(server, "ben@example.com")
        edit = server.base + link(server, who, "edit")
        pictures = {
            "page-light": (edit, WIDE),
            "page-dark": (edit, {**WIDE, "colorScheme": "dark"}),
            "page-rtl": (edit, {**WIDE, "locale": "ar"}),
            "page-mobile": (edit, {**NARROW, "locale": "de"}),
            "unsubscribe-light": (server.base + link(server, who, "withdraw"), LOW),
            "confirm-light": (link_in(box.one_to("ben@example.com")), LOW),
        }
        for name, (url, context) in pictures.items():
            with reader(browser, url, **context) as page:
                page.shot(folder / f"{name}.webp", whole=True)


if __name__ == "__main__":
    main()
