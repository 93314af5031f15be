"""The pages in a real browser that runs no script: answered, by keyboard, readable, narrow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Browser
from tests.e2e.asking import DENIED, GRANTED, choose, fresh, lookup, state
from tests.e2e.page_browser import FormPage, reader
from tests.e2e.paging import PAGES, link, shop, sign_up, smtp
from tests.mailbox import Mailbox, link_in, mailbox
from tests.running import Server

pytestmark = [pytest.mark.browser, pytest.mark.node]


@pytest.fixture(scope="module")
def box() -> Iterator[Mailbox]:
    with mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, box: Mailbox) -> Iterator[Server]:
    with shop(tmp_path_factory.mktemp("acme"), PAGES, smtp(box)) as running:
        yield running


def test_a_visitor_without_a_script_chooses_and_changes(acme: Server, browser: Browser) -> None:
    with reader(browser, f"{acme.base}/preferences") as ann:
        ann.check("Statistics", on=True)
        ann.submit("Save my choice")
        assert "Your choice is saved" in ann.text()
        device = _device(ann)
        preferences = lookup(acme, {"anonymousId": device})["preferences"]
        assert (state(preferences), state(preferences, "advertising")) == (GRANTED, DENIED)
        ann.goto(f"{acme.base}/preferences")
        assert ann.checked("Statistics") is True
        ann.submit("Reject all")
        assert state(lookup(acme, {"anonymousId": device})["preferences"]) == DENIED
        assert _device(ann) == device
        assert ann.said() == []


def _device(page: FormPage) -> str:
    from consentry.csp import cookie as cookies

    found = cookies.cookies_named([page.eval("document.cookie")])
    claim = cookies.read(found[0])
    assert claim is not None
    return claim.device


def test_another_site_cannot_answer_for_a_visitor(acme: Server, browser: Browser) -> None:
    """A form on another origin, pressed by the visitor, with the visitor's own cookie."""
    with reader(browser, f"{acme.base}/preferences") as ann:
        ann.submit("Reject all")
        device = _device(ann)
        proof = ann.eval("document.querySelector('[name=proof]').value")
        other = acme.base.replace("127.0.0.1", "localhost")
        ann.goto(f"{other}/healthz")
        fields = {"do": "save", "shown": "analytics", "on": "analytics", "proof": proof}
        inputs = "".join(f'<input name="{n}" value="{v}">' for n, v in fields.items())
        html = f'<form method="post" action="{acme.base}/preferences">{inputs}<button>Win</button></form>'
        ann.eval(f"document.body.innerHTML = {html!r}")
        ann.submit("Win")
        assert "That did not work" in ann.text()
        assert state(lookup(acme, {"anonymousId": device})["preferences"]) == DENIED


def test_a_sign_up_is_confirmed_by_keyboard(acme: Server, browser: Browser, box: Mailbox) -> None:
    email = f"{fresh('ann')}@example.com"
    sign_up(acme, email)
    with reader(browser, link_in(box.one_to(email))) as ann:
        assert "Newsletter" in ann.text()
        ann.press("Tab")
        assert ann.eval("document.activeElement.textContent") == "Yes, I confirm"
        ann.press("Enter", leaves=True)
        assert "you are signed up" in ann.text()
    assert state(lookup(acme, {"email": email})["topics"]["news"], "email") == GRANTED


def test_a_link_is_asked_for_and_used(acme: Server, browser: Browser, box: Mailbox) -> None:
    email = f"{fresh('ann')}@example.com"
    choose(acme, {"email": email}, {"analytics": True})
    with reader(browser, f"{acme.base}/unsubscribe?t=gone") as ann:
        ann.fill("E-mail address", email)
        ann.submit("Send the link")
        assert "a link is on its way" in ann.text()
        ann.goto(link_in(box.one_to(email)))
        assert ann.checked("Statistics") is True
        ann.check("Statistics", on=False)
        ann.submit("Save my choice")
    assert state(lookup(acme, {"email": email})["preferences"]) == DENIED


# -- how they look --------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def shown(acme: Server, box: Mailbox) -> dict[str, str]:
    """Every page as it is met, by name."""
    who = {"email": "looks@example.com"}
    choose(acme, who, {"analytics": True}, topics={"news": {"email": True}})
    sign_up(acme, "confirm@example.com")
    return {
        "preferences": acme.base + link(acme, who, "edit"),
        "device": f"{acme.base}/preferences",
        "unsubscribe": acme.base + link(acme, who, "withdraw"),
        "confirm": link_in(box.one_to("confirm@example.com")),
        "invalid": f"{acme.base}/unsubscribe?t=x",
    }


NAMES = ["preferences", "device", "unsubscribe", "confirm", "invalid"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "ar"])
def test_axe_finds_nothing(
    browser: Browser, shown: dict[str, str], name: str, theme: str, language: str
) -> None:
    context = {"colorScheme": theme, "locale": language}
    # axe is a script; the page's own policy would still let none of the page's run.
    with reader(browser, shown[name], javaScriptEnabled=True, **context) as page:
        assert page.axe() == []
        # The style sheet is there, and so is the language.
        assert page.eval("document.styleSheets.length") == 1
        if name != "confirm":  # it speaks the language of the mail
            assert page.eval("document.documentElement.lang") == language


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off_at_400_percent(
    browser: Browser, shown: dict[str, str], name: str
) -> None:
    """WCAG 1.4.10: 1,280 pixels at 400 % are 320."""
    with reader(browser, shown[name], viewport={"width": 320, "height": 256}, locale="de") as page:
        wide = page.eval("document.documentElement.scrollWidth")
        assert wide <= 320
        sizes = page.eval(
            "[...document.querySelectorAll('button, input:not([type=hidden])')]"
            ".map(e => (e.closest('label') ?? e).getBoundingClientRect().height)",
        )
        assert all(size >= 44 for size in sizes), sizes


def test_refusing_is_as_plain_as_saving(browser: Browser, shown: dict[str, str]) -> None:
    with reader(browser, shown["preferences"]) as page:
        save, reject = page.eval(
            "[...document.querySelectorAll('.buttons button')].map(e => {"
            "const s = getComputedStyle(e);"
            "return [s.color, s.backgroundColor, s.fontSize, s.fontWeight, s.borderColor,"
            " s.padding, e.getBoundingClientRect().height]})",
        )
        assert save == reject
