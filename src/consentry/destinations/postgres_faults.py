"""What an error of the database or of its driver means for an attempt. Pure."""

from __future__ import annotations

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.postgres_place import PlaceRefused

# Classes of SQLSTATE. All that stand in none of these (08 connection, 53 resources, 57
# intervention, 40 rollback, 55 lock, 25 read-only standby …) are tried again.
# The statement does not fit this database, or the database is not there: so for every batch.
MISFIT = frozenset({"0A", "26", "34", "3D", "3F", "42"})
# A row is at fault: cardinality, data, integrity, check option, program limit, a trigger.
ROW = frozenset({"21", "22", "23", "44", "54", "P0"})
AUTH_STATES = frozenset({"42501"})  # no right to this table, though who we are is known


def outcome_of(error: BaseException) -> Outcome:
    """What an error of the driver or the network means for a delivery.

    What is not known is tried again; the retry time ends it.
    """
    detail = detail_of(error)
    state = _state(error)
    if isinstance(error, PlaceRefused):
        return Outcome(Grade.FAILED_FINAL, detail=str(error), pause=True)
    if state is None:
        # The driver refuses what it was configured with, or the network failed.
        ours = isinstance(error, ValueError) and not isinstance(error, OSError)
        grade = Grade.FAILED_FINAL if ours else Grade.FAILED_RETRY
        return Outcome(grade, detail=detail, pause=ours)
    if state[:2] == "28" or state in AUTH_STATES:
        return Outcome(Grade.AUTH_BLOCKED, detail=detail, pause=True)
    if state[:2] in ROW:
        return Outcome(Grade.FAILED_FINAL, detail=detail)
    if state[:2] in MISFIT:
        return Outcome(Grade.FAILED_FINAL, detail=detail, pause=True)
    return Outcome(Grade.FAILED_RETRY, detail=detail)


def detail_of(error: BaseException) -> str:
    """SQLSTATE and type of an error, never its message: a database quotes rows in it."""
    state, name = _state(error), type(error).__name__
    return f"SQLSTATE {state} {name}" if state else name


def is_row_fault(error: BaseException) -> bool:
    """Whether an error of the write is the fault of a row, so that the others can be saved."""
    state = _state(error)
    if state is not None:
        return state[:2] in ROW
    # Without a state the driver could not encode a value. A certificate is a ValueError too.
    return isinstance(error, ValueError) and not isinstance(error, OSError)


def _state(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else None
