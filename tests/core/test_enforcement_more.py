"""Every case of spec/enforcement-more.json."""

from __future__ import annotations

from typing import Any

import pytest

from .cases import CASES, DOCUMENT, MORE, decide_case


@pytest.mark.parametrize("case", MORE, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    decisions = decide_case(case)

    assert sorted(name for name, one in decisions.items() if one.allow) == case["allowed"]
    assert {name: decisions[name].reason.value for name in case["withheld"]} == case["withheld"]


def test_every_case_is_named_once_and_says_what_becomes_of_every_destination() -> None:
    names = [case["name"] for case in (*CASES, *MORE)]
    assert len(set(names)) == len(names)
    for case in MORE:
        assert {*case["allowed"], *case["withheld"]} == set(DOCUMENT["destinations"]), case["name"]
