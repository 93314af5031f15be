"""DuckDuckGo's autoconsent, unmodified, finds the banner among all the rules it ships and clicks it away."""

from __future__ import annotations

import json

import pytest

from tests.sdk.ui import LAYOUTS, ROOT, Ui, given

pytestmark = [pytest.mark.browser, pytest.mark.node]

RULE = json.loads((ROOT / "sdk" / "js" / "autoconsent" / "consentry.json").read_text())
NO = {"functional": False, "analytics": False, "advertising": False}
YES = dict.fromkeys(NO, True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_opts_out(ui: Ui, layout: str) -> None:
    with ui.page(given(layout)) as page:
        said = page.autoconsent(RULE, "optOut")
        detected = {m["cmp"] for m in said if m["type"] in ("cmpDetected", "popupFound")}
        assert detected == {"consentry"}
        results = [m["result"] for m in said if m["type"] in ("optOutResult", "selfTestResult")]
        assert results == [True, True]
        assert page.heard() == [["shown", "banner"], ["answer", NO, "reject_all", "banner"]]


def test_it_opts_in_for_who_tells_it_to(ui: Ui) -> None:
    with ui.page(given()) as page:
        said = page.autoconsent(RULE, "optIn")
        assert [m["result"] for m in said if m["type"] == "optInResult"] == [True]
        assert page.heard()[-1] == ["answer", YES, "accept_all", "banner"]
