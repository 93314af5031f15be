"""What is in force and whether to ask, as cases; what the cookie's text may be."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consentry.csp.cookie import read
from tests.e2e.sdk_world import run_node
from tests.sdk.world import DAY_S, NOW, category, cookie, policy

pytestmark = [pytest.mark.node]

ROOT = Path(__file__).parents[2]
CASES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "cases/asking.json").read_text())

T = f"t={NOW}"
GOOD = f"v=1&id=a&n=main%401&{T}&g=analytics%2Cadvertising&d="
COOKIES: list[tuple[str, bool]] = [
    (GOOD, True),
    (f"v=1&id=a&{T}&g=", True),
    (f"d=x&g=y&{T}&id=a&v=1", True),
    (f"v=1&id=a&{T}&g=a,b", True),
    (f"v=1&id=a&{T}&g=&later=1", True),
    (f"v=1&id=a&{T}&g=&s={NOW}", True),
    ("", False),
    ("v=1", False),
    (f"v=2&id=a&{T}&g=", False),
    (f"id=a&{T}&g=", False),
    (f"v=1&{T}&g=", False),
    (f"v=1&id=&{T}&g=", False),
    (f"v=1&id=a&{T}", False),
    ("v=1&id=a&t=&g=", False),
    ("v=1&id=a&t=1e9&g=", False),
    ("v=1&id=a&t=-1&g=", False),
    ("v=1&id=a&t=123456789012&g=", False),
    (f"v=1&id=a&{T}&g=&g=analytics", False),
    (f"v=1&id=a&{T}&g=%", False),
    (f"v=1&id=a&{T}&g=%ff", False),
    (f"v=1&id=a&{T}&g=&s=soon", False),
    (f"v=1&id=a&{T}&g=&d", False),
    (f"v=1&id=a&t={NOW + 2 * DAY_S}&g=x&d=y", False),
]


def asked(case: dict[str, Any]) -> dict[str, Any]:
    """One case as the program takes it."""
    since = {
        id_: datetime.fromtimestamp(NOW - days * DAY_S, UTC).isoformat()
        for id_, days in case.get("since", {}).items()
    }
    categories = [category("necessary", essential=True, default=True)] + [
        category(
            id_,
            default=id_ in case.get("silence", []),
            prohibited=id_ in case.get("prohibited", []),
            since=since.get(id_),
        )
        for id_ in ("analytics", "advertising")
    ]
    said = case.get("cookie")
    cookies = [case["text"]] if "text" in case else []
    if said is not None:
        signal = {"s": int(NOW - said["s"] * DAY_S)} if "s" in said else {}
        text = cookie(
            said.get("g", ""),
            said.get("d", ""),
            age_days=said.get("age", 0),
            notice=said.get("n", "main@1"),
            **signal,
        )
        cookies = [text] * case.get("cookies", 1)
    return {
        "policy": policy(
            categories=categories,
            ask=case.get("ask", {}),
            notice={"version": case.get("version", "1"), "changed": case.get("changed", [])},
            gpc={"covers": ["advertising"], "honoured": True},
        ),
        "cookies": cookies,
        "gpc": case.get("gpc", False),
        "against": case.get("against", []),
    }


@pytest.fixture(scope="module")
def answers() -> Any:
    return run_node(
        "asking.mjs",
        {
            "root": str(ROOT),
            "now": NOW,
            "cases": [asked(case) for case in CASES],
            "cookies": [text for text, _ in COOKIES],
        },
    )


@pytest.mark.parametrize("n", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_a_case(answers: dict[str, Any], n: int) -> None:
    case, found = CASES[n], answers["told"][n]
    on = {id_ for id_, granted in found["categories"].items() if granted}
    assert on == {"necessary", *case["on"]}
    why = None if found["asking"] is None else found["asking"]["why"]
    assert why == case["asking"]
    if why is not None:
        assert found["asking"]["changed"] == case.get("names", [])
        assert found["asking"]["categories"] == case.get("asks", ["analytics", "advertising"])
    storage = {"analytics": "analytics_storage", "advertising": "ad_storage"}
    for id_, key in storage.items():
        assert (found["words"][key] == "granted") is (id_ in case["on"])


def named(text: str) -> str:
    """A cookie without the time of day: workers that run side by side must agree on a name."""
    return text.replace(str(NOW + 2 * DAY_S), "AHEAD").replace(str(NOW), "NOW") or "nothing"


@pytest.mark.parametrize("n", range(len(COOKIES)), ids=[named(text) for text, _ in COOKIES])
def test_a_cookie_that_is_unreadable_in_any_part_is_no_answer(
    answers: dict[str, Any], n: int
) -> None:
    """And the server reads the same one the same way."""
    text, good = COOKIES[n]
    found = answers["read"][n]
    there = read(text)
    ahead = f"t={NOW + 2 * DAY_S}" in text  # the server looks at the age where it asks for grants
    assert (there is not None) is (good or ahead)
    if ahead:
        assert (found["_id"], found["_at"], found["_granted"], found["_denied"]) == (
            "a",
            0,
            [],
            ["*"],
        )
        return
    assert (found is not None) is good
    if found is not None and there is not None:
        assert (set(found["_granted"]), set(found["_denied"])) == (there.granted, there.denied)
        assert read(found["again"]) == there
