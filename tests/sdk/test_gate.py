"""The declarative gate in Chromium: every dialect, in order, late, and back again."""

from __future__ import annotations

import json

import pytest

from tests.browser import Visitor
from tests.running import wait_for
from tests.sdk.site import Site
from tests.sdk.world import KEY, NO, NOTHING_YET, READY, YES, answer, html, policy, tag

pytestmark = [pytest.mark.browser, pytest.mark.node]

MAP = {"statistics": "analytics", "marketing": "advertising", "matomo": "analytics", "both": []}
MAP |= {"nothing": [], "lost": "nowhere"}
MAP["both"] = ["analytics", "advertising"]
HEAD = f"<script src='/sdk/consentry.js' data-key='{KEY}' data-map='{json.dumps(MAP)}'></script>"
RAN = "(window.ran ??= []).push"

# Mark-up, and which of the answers to (analytics, advertising) let it live.
A, B, AB = {"10", "11"}, {"01", "11"}, {"11"}
SCRIPTS: list[tuple[str, str, set[str]]] = [
    ("own", "data-consent='analytics'", A),
    ("own-all", "data-consent='analytics advertising'", AB),
    ("own-comma", "data-consent='analytics,advertising'", AB),
    ("essential", "data-consent='necessary'", {"00", "01", "10", "11"}),
    ("cookiebot", "data-cookieconsent='statistics'", A),
    ("cookiebot-all", "data-cookieconsent='statistics, marketing'", AB),
    ("cookiebot-ignore", "data-cookieconsent='ignore'", {"00", "01", "10", "11"}),
    ("cookieyes", "data-cookieyes='cookieyes-marketing'", B),
    ("klaro", "data-type='text/javascript' data-name='matomo'", A),
    ("cookieconsent3", "data-category='advertising' data-service='Ads'", B),
    ("cookieconsent3-not", "data-category='!advertising'", {"00", "10"}),
    ("cookieconsent2", "data-cookiecategory='analytics'", A),
    ("mapped-to-two", "data-consent='both'", AB),
    ("unknown", "data-consent='nonsense'", set()),
    ("unknown-beside-known", "data-consent='analytics nonsense'", set()),
    ("empty", "data-consent=''", set()),
    ("blank", "data-consent=' '", set()),
    ("half-empty", "data-consent='analytics,'", set()),
    ("mapped-to-nothing", "data-consent='nothing'", set()),
    ("mapped-to-nothing-beside", "data-consent='analytics nothing'", set()),
    ("mapped-to-unknown", "data-consent='lost'", set()),
    ("inherited", "data-consent='constructor'", set()),
    ("unmarked", "", set()),
]


@pytest.mark.parametrize("said", ["00", "10", "01", "11"])
def test_every_dialect(shop: Site, visitor: Visitor, said: str) -> None:
    shop.policy = policy()
    inline = [
        f"<script type='text/plain' {mark}>{RAN}('inline {name}')</script>"
        for name, mark, _ in SCRIPTS
    ]
    remote = [
        f"<script type='text/plain' {mark} data-src='//t.test/{name}.js'></script>"
        for name, mark, _ in SCRIPTS
    ]
    # Cookiebot and CookieYes write src itself, which is inert beside that type.
    plain = [
        f"<script type='text/plain' {mark} src='//t.test/src-{name}.js'></script>"
        for name, mark, _ in SCRIPTS
    ]
    templates = [
        f"<template {mark}><!-- <script>{RAN}('template {name}')</script>"
        f"<img src='//t.test/{name}.gif'>--></template>"
        for name, mark, _ in SCRIPTS
        if "data-consent" in mark
    ] + [f"<template data-purpose='statistics'><script>{RAN}('orejime')</script></template>"]
    shop.pages["shop.test/"] = html("".join([*inline, *remote, *plain, *templates]), HEAD)
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    always = [name for name, _, lives in SCRIPTS if "00" in lives and "not" not in name]
    page.wait(f"window.ran?.length >= {4 * len(always) - 1}")  # Cookiebot has no template
    page.eval("new Promise((done) => setTimeout(done, 100))")
    before = page.eval("window.ran ?? []")
    assert {text.split(" ")[-1] for text in before if "/" not in text} == set(always)
    answer(page, {"analytics": said[0] == "1", "advertising": said[1] == "1"})
    live = [name for name, _, lives in SCRIPTS if said in lives]
    expected = {f"inline {name}" for name in live}
    expected |= {f"/{name}.js" for name in live} | {f"/src-{name}.js" for name in live}
    expected |= {
        f"template {name}"
        for name, mark, lives in SCRIPTS
        if said in lives and "data-consent" in mark
    }
    expected |= {"orejime"} if said[0] == "1" else set()
    page.wait(f"window.ran?.length >= {len(expected)}")
    ran = page.eval("window.ran")
    assert len(ran) == len(set(ran))
    assert set(ran) == expected
    shown = {f"/{n}.gif" for n, mark, lives in SCRIPTS if said in lives and "data-consent" in mark}
    wait_for(lambda: {p for p in shop.to("t.test") if p.endswith(".gif")} == shown, what="pictures")


MEDIA = [
    ("img", "data-consent='analytics' data-src='//t.test/own.gif'", "/own.gif"),
    (
        "img",
        "data-cookieconsent='statistics' data-cookieblock-src='//t.test/cookiebot.gif'",
        "/cookiebot.gif",
    ),
    ("img", "data-name='matomo' data-src='//t.test/klaro.gif'", "/klaro.gif"),
    ("img", "data-consent='analytics' data-srcset='//t.test/set.gif 2x'", "/set.gif"),
    (
        "link",
        "rel='stylesheet' data-consent='analytics' data-href='//t.test/style.css'",
        "/style.css",
    ),
    ("iframe", "data-consent='analytics' data-src='//t.test/frame.html'", "/frame.html"),
]


def test_pictures_frames_and_style_sheets(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html(
        "".join(f"<{kind} {mark}></{kind}>" for kind, mark, _ in MEDIA), HEAD
    )
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    assert shop.to("t.test") == []
    answer(page, {"analytics": True})
    wait_for(lambda: set(shop.to("t.test")) == {path for _, _, path in MEDIA}, what="all of it")
    answer(page, NO)
    page.wait('!document.querySelector(\'[src*="t.test"],[href*="t.test"]\')')


def test_scripts_run_in_the_order_of_the_page(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    mark = "type='text/plain' data-consent='analytics'"
    shop.pages["shop.test/"] = html(
        f"<script {mark} data-src='//t.test/1.js'></script><script {mark}>{RAN}('2')</script>"
        f"<script {mark} data-src='//t.test/3.js'></script>"
        "<template data-consent='analytics'>\n<!--<script src='//t.test/4.js'></script>"
        f"<script>{RAN}('5')</script>-->\n</template><script {mark}>{RAN}('6')</script>"
    )
    page = visitor.open("http://shop.test/")
    answer(page, YES)
    page.wait("window.ran?.length === 6")
    assert page.eval("window.ran") == ["/1.js", "2", "/3.js", "/4.js", "5", "6"]


def test_what_comes_late_is_gated_too(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.pages["shop.test/"] = html()
    page = visitor.open("http://shop.test/")
    answer(page, {"analytics": True})
    page.eval(
        "document.body.append(...['analytics', 'advertising'].map((id) => "
        "Object.assign(document.createElement('div'), {innerHTML: "
        "`<img data-consent=${id} data-src=//t.test/${id}.gif>`})))"
    )
    page.wait("document.querySelector('[data-consent=analytics]').src")
    page.eval("new Promise((done) => setTimeout(done, 200))")
    assert shop.to("t.test") == ["/analytics.gif"]


def test_an_advanced_tag_loads_and_is_told(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(
        tags=[
            tag("ga4", ["analytics"], hosts=["t.test"], mode="advanced"),
            tag("ads", ["advertising"], hosts=["ads.test"]),
            tag("nobody knows why", [], hosts=["lost.test"], mode="advanced"),
        ]
    )
    mark = "type='text/plain'"
    shop.pages["shop.test/"] = html(
        f"<script {mark} data-consent='analytics' data-src='//t.test/ga.js'></script>"
        f"<script {mark} data-consent='analytics' data-tag='ga4'>{RAN}('named')</script>"
        f"<script {mark} data-consent='advertising' data-src='//ads.test/ads.js'></script>"
        f"<script {mark} data-consent='advertising' data-src='//lost.test/lost.js'></script>"
    )
    page = visitor.open("http://shop.test/")
    page.wait("window.ran?.length === 2")
    assert (shop.to("ads.test"), shop.to("lost.test")) == ([], [])
    assert page.eval("window.ran") == ["/ga.js", "named"]


STRICT = (
    "default-src 'self'; script-src 'nonce-abc'; style-src 'self'; img-src 'self' http://t.test"
)


def test_under_a_strict_content_security_policy(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy()
    shop.headers["Content-Security-Policy"] = STRICT
    mark = "nonce='abc' type='text/plain' data-consent='analytics'"
    head = f"<script nonce='abc' src='/sdk/consentry.js' data-key='{KEY}'></script>"
    shop.pages["shop.test/"] = html(
        f"<script {mark}>{RAN}('inline')</script>"
        f"<template data-consent='analytics'><script nonce='abc'>{RAN}('template')</script></template>"
        "<img data-consent='analytics' data-src='http://t.test/x.gif'>"
        f"<script type='text/plain' data-consent='analytics'>{RAN}('no nonce')</script>",
        head,
    )
    page = visitor.open("http://shop.test/")
    answer(page, YES)
    page.wait("window.ran?.length === 2 && document.querySelector('img').src")
    page.eval("consentry.open()")
    page.wait("document.querySelector('link[href*=consentry-ui]')")
    assert page.eval("window.ran") == ["inline", "template"]
    # Only what never had the page's nonce is refused: the loader does not lend its own.
    assert page.eval("window.violations") == ["script-src-elem inline"]
    answer(page, NO)
    page.wait("!document.querySelector('img').src")


TRUSTED = STRICT + "; require-trusted-types-for 'script'; trusted-types consentry consentry-guard"


def test_under_trusted_types(shop: Site, visitor: Visitor) -> None:
    """The loader, the gate, the controls and the guard; a plain text of the page is refused as ever."""
    shop.policy = policy(tags=[tag("stats", ["analytics"], hosts=["t.test"])])
    shop.headers["Content-Security-Policy"] = TRUSTED.replace("'nonce-abc'", "'nonce-abc' t.test")
    mark = "nonce='abc' type='text/plain' data-consent='analytics'"
    head = f"<script nonce='abc' src='/sdk/consentry-guard.js' data-key='{KEY}'></script>"
    head += f"<script nonce='abc' src='/sdk/consentry.js' data-key='{KEY}'></script>"
    shop.pages["shop.test/"] = html(
        f"<script {mark}>{RAN}('inline')</script><script {mark} data-src='//t.test/1.js'></script>"
        f"<template data-consent='analytics'><!--<script nonce='abc'>{RAN}('template')</script>"
        "<svg><script nonce='abc' href='//t.test/2.js'></script></svg>--></template>",
        head,
    )
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    page.wait("document.querySelector('[data-consentry=banner]')")
    answer(page, YES)
    page.wait("window.ran?.length === 4")
    assert page.eval("window.ran") == ["inline", "/1.js", "template", "/2.js"]
    assert page.eval("window.violations") == []
    made = "trustedTypes.createPolicy('consentry', {}).name"
    text = "document.body.insertAdjacentHTML('beforeend', '<b>')"
    for source in (text, f"document.createElement('script').src = '/x.js' + {made}"):
        caught = f"(() => {{ try {{ {source}; return 'done' }} catch (e) {{ return e.name }} }})()"
        assert page.eval(caught) == "TypeError"


SHADOW = "<div id=host><template shadowrootmode=open>{}</template></div>"


def test_a_shadow_root_comes_back_and_what_ran_in_it_is_known(shop: Site, visitor: Visitor) -> None:
    shop.policy = policy(tags=[tag("plain", ["analytics"], hosts=["t.test"])])
    inside = f"<img src='//t.test/in.gif'><script>{RAN}('in')</script>"
    inside += SHADOW.format("<img src='//t.test/deep.gif'>")
    shop.pages["shop.test/"] = html(
        f"<template data-consent=analytics><!--{SHADOW.format(inside)}<script>{RAN}('after')</script>--></template>"
    )
    page = visitor.open("http://shop.test/")
    page.eval(READY)
    assert shop.to("t.test") == []
    answer(page, YES)
    page.wait("window.ran?.length === 2")
    assert page.eval("window.ran") == ["in", "after"]
    wait_for(lambda: {"/in.gif", "/deep.gif"} <= set(shop.to("t.test")), what="both pictures")
    page.eval("void (window.before = true)")
    page.does("void consentry.withdraw()")
    page.wait("!window.before && window.consentry")  # nothing undoes a script that ran
    page.eval(READY)
    assert not page.eval("document.querySelector('#host')")


AHEAD = (
    "<p>x</p><img src='//t.test/1.gif'><video poster='//t.test/2.gif'></video>"
    "<link rel=stylesheet href='//t.test/3.css'><script src='//t.test/4.js'></script>"
    "<svg><image href='//t.test/5.gif'/></svg><picture><source srcset='//t.test/6.gif'><img></picture>"
)
"""What a parser asks for before it knows what becomes of it."""


def test_no_parser_asks_ahead_for_what_is_marked(shop: Site, visitor: Visitor) -> None:
    """While the loader is on its way there is time to look ahead: Firefox does, in a template too."""
    shop.policy = policy()
    shop.stalled.add("/sdk/consentry.js")
    shop.pages["shop.test/"] = html(
        f"<template data-consent=analytics><!--{AHEAD}--></template>"
        "<script type=text/plain data-cookieconsent=statistics src='//t.test/7.js'></script>"
        "<img data-consent=analytics data-src='//t.test/8.gif'>"
        "<script src='//seen.test/ahead.js'></script>",
        HEAD,
    )
    page = visitor.tab()
    page.starts("http://shop.test/")
    wait_for(lambda: shop.to("seen.test") == ["/ahead.js"], what="a look ahead")
    shop.stalled.clear()
    page.wait("window.consentry")
    page.eval(READY)
    page.eval(NOTHING_YET)
    assert shop.to("t.test") == []
    answer(page, YES)
    paths = [
        f"/{n}.{kind}"
        for n, kind in enumerate(["gif", "gif", "css", "js", "gif", "gif", "js", "gif"], 1)
    ]
    wait_for(lambda: sorted(set(shop.to("t.test"))) == paths, what="all of it")
