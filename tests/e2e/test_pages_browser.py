"""The pages in a real browser that runs no script: answered, by keyboard, readable, narrow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.asking import DENIED, GRANTED, choose, fresh, lookup, state
from tests.e2e.page_browser import Chromium, Visitor, chromium
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as running:
        yield running


def test_a_visitor_without_a_script_chooses_and_changes(acme: Server, browser: Chromium) -> None:
    with browser.visitor(f"{acme.base}/preferences") as ann:
        ann.do("check", label="Statistics", on=True)
        ann.do("click", name="Save my choice")
        assert "Your choice is saved" in ann.do("text")
        device = _device(ann)
        preferences = lookup(acme, {"anonymousId": device})["preferences"]
        assert (state(preferences), state(preferences, "advertising")) == (GRANTED, DENIED)
        ann.do("go", url=f"{acme.base}/preferences")
        assert ann.do("checked", label="Statistics") is True
        ann.do("click", name="Reject all")
        assert state(lookup(acme, {"anonymousId": device})["preferences"]) == DENIED
        assert _device(ann) == device
        assert ann.do("noise") == []


def _device(visitor: Visitor) -> str:
    from consentry.csp import cookie as cookies

    found = cookies.cookies_named([visitor.do("run", code="document.cookie")])
    claim = cookies.read(found[0])
    assert claim is not None
    return claim.device


def test_another_site_cannot_answer_for_a_visitor(acme: Server, browser: Chromium) -> None:
    """A form on another origin, pressed by the visitor, with the visitor's own cookie."""
    with browser.visitor(f"{acme.base}/preferences") as ann:
        ann.do("click", name="Reject all")
        device = _device(ann)
        proof = ann.do("run", code="document.querySelector('[name=proof]').value")
        other = acme.base.replace("127.0.0.1", "localhost")
        ann.do("go", url=f"{other}/healthz")
        fields = {"do": "save", "shown": "analytics", "on": "analytics", "proof": proof}
        inputs = "".join(f'<input name="{n}" value="{v}">' for n, v in fields.items())
        html = f'<form method="post" action="{acme.base}/preferences">{inputs}<button>Win</button></form>'
        ann.do("run", code=f"document.body.innerHTML = {html!r}")
        ann.do("click", name="Win")
        assert "That did not work" in ann.do("text")
        assert state(lookup(acme, {"anonymousId": device})["preferences"]) == DENIED


def test_a_sign_up_is_confirmed_by_keyboard(acme: Server, browser: Chromium, box: Mailbox) -> None:
    email = f"{fresh('ann')}@example.com"
    sign_up(acme, email)
    with browser.visitor(link_in(box.one_to(email))) as ann:
        assert "Newsletter" in ann.do("text")
        ann.do("press", keys=["Tab"])
        assert ann.do("run", code="document.activeElement.textContent") == "Yes, I confirm"
        ann.do("press", keys=["Enter"], leaves=True)
        assert "you are signed up" in ann.do("text")
    assert state(lookup(acme, {"email": email})["topics"]["news"], "email") == GRANTED


def test_a_link_is_asked_for_and_used(acme: Server, browser: Chromium, box: Mailbox) -> None:
    email = f"{fresh('ann')}@example.com"
    choose(acme, {"email": email}, {"analytics": True})
    with browser.visitor(f"{acme.base}/unsubscribe?t=gone") as ann:
        ann.do("fill", label="E-mail address", text=email)
        ann.do("click", name="Send the link")
        assert "a link is on its way" in ann.do("text")
        ann.do("go", url=link_in(box.one_to(email)))
        assert ann.do("checked", label="Statistics") is True
        ann.do("check", label="Statistics", on=False)
        ann.do("click", name="Save my choice")
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
    browser: Chromium, shown: dict[str, str], name: str, theme: str, language: str
) -> None:
    context = {"colorScheme": theme, "locale": language}
    # axe is a script; the page's own policy would still let none of the page's run.
    with browser.visitor(shown[name], javaScriptEnabled=True, **context) as page:
        assert page.do("axe") == []
        # The style sheet is there, and so is the language.
        assert page.do("run", code="document.styleSheets.length") == 1
        if name != "confirm":  # it speaks the language of the mail
            assert page.do("run", code="document.documentElement.lang") == language


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_cut_off_at_400_percent(
    browser: Chromium, shown: dict[str, str], name: str
) -> None:
    """WCAG 1.4.10: 1,280 pixels at 400 % are 320."""
    with browser.visitor(shown[name], viewport={"width": 320, "height": 256}, locale="de") as page:
        wide = page.do("run", code="document.documentElement.scrollWidth")
        assert wide <= 320
        sizes = page.do(
            "run",
            code="[...document.querySelectorAll('button, input:not([type=hidden])')]"
            ".map(e => (e.closest('label') ?? e).getBoundingClientRect().height)",
        )
        assert all(size >= 44 for size in sizes), sizes


def test_refusing_is_as_plain_as_saving(browser: Chromium, shown: dict[str, str]) -> None:
    with browser.visitor(shown["preferences"]) as page:
        save, reject = page.do(
            "run",
            code="[...document.querySelectorAll('.buttons button')].map(e => {"
            "const s = getComputedStyle(e);"
            "return [s.color, s.backgroundColor, s.fontSize, s.fontWeight, s.borderColor,"
            " s.padding, e.getBoundingClientRect().height]})",
        )
        assert save == reject
