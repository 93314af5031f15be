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
        assert gone == ["_ad=; Max-Age=0; Path=/", "_adshop=; Max-Age=0; Path=/shop"]
        answer = await place.post("/preferences", form.filled("withdraw"), jar)
        gone = [c for c in answer.cookies if not c.startswith("consentry=")]
        assert {c.partition("=")[0] for c in gone} == {"_st1", "_ad", "_adshop"}
    finally:
        await place.close()
