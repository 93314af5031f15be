"""The device's own page, where the cookie is shared and where nothing can be written."""

from __future__ import annotations

from typing import Any

from consentry.csp import cookie as cookies
from consentry.ports import StoreUnavailable
from tests.e2e.paging import Form
from tests.web.pages import Place

OURS = {"Sec-Fetch-Site": "same-origin"}
SHARED = '[notice]\ncookie_domain = ".acme.example"\n'


async def saved(place: Place) -> Any:
    form = Form((await place.ask("GET", "/preferences")).body)
    return await place.post("/preferences", form.filled("save", ["analytics"]), OURS)


async def test_a_shared_cookie_takes_the_place_of_the_hosts_own() -> None:
    place = await Place.open(SHARED)
    try:
        answer = await saved(place)
        own, shared = answer.cookies
        assert own.startswith("consentry=; Max-Age=0;")
        assert "Domain" not in own
        assert shared.endswith("; Domain=.acme.example")
        assert "; Secure" in shared  # people come by https, as base_url says
        claim = cookies.read(shared.partition(";")[0].removeprefix("consentry="))
        assert claim is not None
        assert claim.granted == {"analytics"}
    finally:
        await place.close()


async def test_what_could_not_be_recorded_is_in_no_cookie() -> None:
    place = await Place.open()
    try:
        since = len(place.records)
        store: Any = place.running.world.store
        form = Form((await place.ask("GET", "/preferences")).body)
        store.fail_next = StoreUnavailable("the disk is full")
        answer = await place.post("/preferences", form.filled("save", ["analytics"]), OURS)
        assert answer.status == 503
        assert b"Nothing was changed" in answer.body
        assert answer.cookies == []
        assert len(place.records) == since
    finally:
        await place.close()


def refusing(ids: str, device: str = "d1") -> dict[str, str]:
    """A browser whose cookie refuses what the ledger has not heard of."""
    return {**OURS, "Cookie": f"consentry=v=1&id={device}&n=x%401&t=1&g=&d={ids}"}


async def test_what_the_browser_refused_is_off_before_the_ledger_has_heard_of_it() -> None:
    """Saved as it stands it is a no; and a no it stays, whatever the page that was sent said."""
    place = await Place.open()
    try:
        yes = refusing("")
        form = Form((await place.ask("GET", "/preferences", headers=yes)).body)
        await place.post("/preferences", form.filled("save", ["analytics", "advertising"]), yes)
        form = Form((await place.ask("GET", "/preferences", headers=yes)).body)
        assert form.on == ["analytics", "advertising"]

        no = refusing("analytics")
        old = [
            ("seen", "0" * 64) if name == "seen" else (name, value)
            for name, value in form.filled("save")
        ]
        answer = await place.post("/preferences", old, no)
        assert answer.status == 409
        claim = (
            cookies.read(answer.cookies[0].partition(";")[0].removeprefix("consentry="))
            if answer.cookies
            else None
        )
        assert claim is None or "analytics" not in claim.granted

        form = Form((await place.ask("GET", "/preferences", headers=no)).body)
        assert form.on == ["advertising"]
        answer = await place.post("/preferences", form.filled("save"), no)
        claim = cookies.read(answer.cookies[0].partition(";")[0].removeprefix("consentry="))
        assert claim is not None
        assert (claim.granted, claim.denied) == ({"advertising"}, {"analytics"})
        form = Form((await place.ask("GET", "/preferences", headers=no)).body)
        answer = await place.post("/preferences", form.filled("save", ["analytics"]), no)
        claim = cookies.read(answer.cookies[0].partition(";")[0].removeprefix("consentry="))
        assert claim is not None
        assert (claim.granted, claim.denied) == ({"analytics"}, {"advertising"})
        assert Form(answer.body).on == ["analytics"]
    finally:
        await place.close()


async def test_a_cookie_that_nobody_can_read_may_be_a_no_where_silence_is_a_yes() -> None:
    place = await Place.open('[[category]]\nid = "social"\nregime = "opt_out"\n')
    try:
        odd = {**OURS, "Cookie": "consentry=what"}
        assert Form((await place.ask("GET", "/preferences")).body).on == ["social"]
        assert Form((await place.ask("GET", "/preferences", headers=odd)).body).on == []
    finally:
        await place.close()


async def test_an_answer_outweighs_the_signal_that_comes_with_it() -> None:
    """The page showed it as honoured when the person chose."""
    place = await Place.open()
    try:
        gpc = {**OURS, "Sec-GPC": "1"}
        form = Form((await place.ask("GET", "/preferences", headers=gpc)).body)
        answer = await place.post("/preferences", form.filled("save", ["advertising"]), gpc)
        claim = cookies.read(answer.cookies[0].partition(";")[0].removeprefix("consentry="))
        assert claim is not None
        assert claim.granted == {"advertising"}
        assert claim.signal_at_s == claim.at_s
    finally:
        await place.close()


TAGS = """
[[tag]]
name = "stats"
categories = ["analytics"]
cookies = ["_st*"]
[[tag]]
name = "ads"
categories = ["advertising"]
cookies = ["_ad", "_adshop /shop"]
"""


async def test_what_refused_tags_stored_is_expired_without_a_script_too() -> None:
    """The browser sends its cookies to this page; one with another path is expired unseen."""
    place = await Place.open(TAGS)
    try:
        form = Form((await place.ask("GET", "/preferences")).body)
        jar = {**OURS, "Cookie": "_st1=1; _ad=2; session=3"}
        answer = await place.post("/preferences", form.filled("save", ["analytics"]), jar)
        gone = [c for c in answer.cookies if not c.startswith("consentry=")]
        kinds = ("", "; Secure; Partitioned")
        places = ("_ad=; Max-Age=0; Path=/", "_adshop=; Max-Age=0; Path=/shop")
        assert gone == [place + kind for kind in kinds for place in places]
        answer = await place.post("/preferences", form.filled("withdraw"), jar)
        gone = [c for c in answer.cookies if not c.startswith("consentry=")]
        assert {c.partition("=")[0] for c in gone} == {"_st1", "_ad", "_adshop"}
    finally:
        await place.close()
