"""The function for edges in docs/csp.md agrees with the server, whatever the cookie holds."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.csp import Category, Rules, granted, normalised
from tests.csp.test_csp_cookie import COOKIES

pytestmark = pytest.mark.node

NOW = 1_800_000_000
RULES = Rules((Category("analytics", gpc=False), Category("advertising")))
PAGE = Path(__file__).parents[2] / "docs" / "csp.md"
MANY = 300

_ids = st.lists(st.sampled_from(("analytics", "advertising", "other", "")), max_size=3)
_joined = _ids.map(lambda ids: st.sampled_from((",", "%2C")).map(lambda comma: comma.join(ids)))
_members = st.fixed_dictionaries(
    {"v": st.sampled_from("1112"), "id": st.sampled_from(("a", "b%20c", "")), "g": _joined.flatmap(lambda s: s)},
    optional={"d": _joined.flatmap(lambda s: s), "n": st.sampled_from(("x", "%FF", "%"))},
)  # fmt: skip
_cookie = st.tuples(
    _members, st.sampled_from(("", "&s=1799999000", "&s=1799999999", "&g=analytics"))
)
headers = st.lists(
    _cookie.map(
        lambda c: "consentry=t=1799999500&" + "&".join(f"{k}={v}" for k, v in c[0].items()) + c[1]
    )
    | st.sampled_from(("a=1", "consentry", " xconsentry=v=1", "consentry=")),
    max_size=2,
).map("; ".join)


def edge(asked: list[tuple[str, str]]) -> list[str]:
    """What the function in the document answers."""
    (code,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    run = f"{code}\nconst asked = JSON.parse(require('fs').readFileSync(0))\n"
    run += (
        "console.log(JSON.stringify(asked.map(([cookie, gpc]) => consentryGranted(cookie, gpc))))"
    )
    ran = subprocess.run(
        ["node", "-e", run], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(ran.stdout)
    return found


def server(cookie: str, gpc: str) -> str:
    return normalised(granted(RULES, [cookie], gpc == "1", NOW))


def test_the_edge_and_the_server_agree() -> None:
    asked = [(COOKIES[name][0], "0") for name in ("as the page writes it", "commas as they are")]

    @settings(max_examples=MANY)
    @given(headers, st.sampled_from(("", "0", "1")))
    def gather(cookie: str, gpc: str) -> None:
        asked.append((cookie, gpc))

    gather()
    wanted = [server(*each) for each in asked]
    assert [(a, e) for a, e, w in zip(asked, edge(asked), wanted, strict=True) if e != w] == []
    assert set(wanted) == {"-", "analytics", "advertising", "advertising,analytics"}


def test_where_they_differ_the_response_is_private() -> None:
    """The edge does not look at ages; the server then has another value, and withholds."""
    old = COOKIES["too old"][0]
    assert edge([(old, "")]) == ["analytics"]
    assert server(old, "") == "-"
