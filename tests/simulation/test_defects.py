"""The simulation can fail: each seeded defect is caught, by the check that is meant to."""

from __future__ import annotations

import pytest

from tests.simulation.defects import DEFECTS
from tests.simulation.run import run_seeds

WITHIN = (
    160  # who waits for the disk is seldom asked in between: about one seed in a hundred shows it
)
SAYS = {
    "DropsWithdrawals": "acknowledged and is not durable",
    "LosesEvents": "acknowledged and is not in the log",
    "SaysItIsWell": "while withdrawals could not be recorded",
    "OutOfOrder": "of its subject",
    "ForgetsPositions": "no attempt is on record",
    "BeginsAgain": "sent again after it was on record as delivered",
    "ForgetsAttempts": "no attempt is on record",
    "AltersRecords": "the ledger does not verify",
    "ReadsNothing": "is not allowed",
    "LooksAway": "does not hold",
    "SendsAnyway": "does not hold",
    "KeepsMessages": "does not hold",
    "SaysMore": "does not hold",
    "TurnsRound": "of its subject",
    "HearsNothing": "allowed",
    "WaitsForTheDisk": "is not allowed now",
    "NeverLinked": "is not allowed",
    "Unguarded": "the clock went back",
}


def test_every_defect_has_its_sentence() -> None:
    assert SAYS.keys() == DEFECTS.keys()


@pytest.mark.parametrize("name", DEFECTS)
def test_the_defect_is_caught(name: str) -> None:
    for seed in range(WITHIN):
        if any(SAYS[name] in story for _, story in run_seeds(seed, 1, parts=DEFECTS[name]).broken):
            return
    pytest.fail(f"{name} was not caught by {WITHIN} seeds")
