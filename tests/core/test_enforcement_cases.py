"""Every case of spec/enforcement-cases.json."""

from __future__ import annotations

from typing import Any

import pytest

from .cases import CASES, DOCUMENT, decide_case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    decisions = decide_case(case)

    allowed = sorted(name for name, decision in decisions.items() if decision.allow)
    assert allowed == sorted(case["allowed"])
    for name, reasons in case.get("withheld", {}).items():
        expected = reasons if isinstance(reasons, list) else [reasons]
        assert decisions[name].reason in expected, name


def test_every_case_says_what_becomes_of_every_destination() -> None:
    assert len(CASES) == 64
    for case in CASES:
        spoken_of = {*case["allowed"], *case.get("withheld", {})}
        assert spoken_of == set(DOCUMENT["destinations"]), case["name"]
