"""Orders at a real database: monotonic by their place in the ledger, and read back."""

from __future__ import annotations

import itertools
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations.http import Unsendable
from consentry.destinations.instruction import Found, Instruction, Person
from consentry.destinations.message import LastLookRefused
from consentry.destinations.postgres import Postgres
from consentry.destinations.postgres_orders import stands, told_of
from tests.destinations.instructions import instruction
from tests.destinations.messages import at, choice, track
from tests.destinations.test_postgres import (
    Connect,
    admin,
    client,
    connect,
    ids,
    postgres_server,
    schema,
)

__all__ = ["admin", "client", "connect", "postgres_server", "schema"]
database = pytest.mark.postgres
DEVICE = Person(("device-1",), ("u",))


def order(verb: Verb, seq: int = 7, second: float = 60, **changes: Any) -> Instruction:
    """About the person of `track`, received so many seconds after noon."""
    consent = {"analytics": verb is Verb.GRANT}
    usual = {"person": DEVICE, "consent": consent, "received_at": at(second), "seq": seq}
    return instruction(verb, **usual | changes)


async def obey(destination: Postgres, *orders: Instruction) -> list[Grade]:
    """One after the other."""
    attempts = [await destination.obey([one], None) for one in orders]
    return [attempted.outcomes[0].grade for attempted in attempts]


@database
async def test_a_withdrawal_hides_what_is_there_and_a_grant_shows_it_again(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect(needs=("analytics",))
    await destination.send([track("m1"), track("m2", anonymous_id="other")], None)
    withdrawal = order(Verb.SUPPRESS)
    attempted = await destination.obey([withdrawal], None)
    assert attempted.outcomes[0].grade is Grade.CONFIRMED
    assert attempted.request_digest
    assert await ids(admin, f"{schema}.events") == ["m1", "m2"]
    assert await ids(admin, f"{schema}.events_consented") == ["m2"]
    assert (await destination.read_back(withdrawal, "")).found is Found.EQUAL

    assert await obey(destination, order(Verb.GRANT, 8, 120)) == [Grade.CONFIRMED]
    assert await ids(admin, f"{schema}.events_consented") == ["m1", "m2"]
    # The newer order stands: what the older one said is not expected any more.
    assert (await destination.read_back(withdrawal, "")).found is Found.EQUAL


@database
async def test_an_older_order_undoes_nothing_and_a_repetition_changes_nothing(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect()
    denied, granted = order(Verb.SUPPRESS, 8, 120), order(Verb.GRANT, 7, 60)
    for orders in ((granted, denied), (denied, granted), (denied, denied, granted, denied)):
        await obey(destination, *orders)
        rows = await admin.fetch(f"SELECT state, seq FROM {schema}.consent_current")
        assert {tuple(row) for row in rows} == {("denied", 8)}
        await admin.execute(f"TRUNCATE {schema}.consent_current")


@database
async def test_an_order_never_lifts_a_later_denial_that_came_as_an_event(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect(needs=("analytics",))
    await destination.send(
        [track("m1"), choice("c", {"analytics": False}, received=300)],
        None,
    )
    late = order(Verb.GRANT, 9, 120)
    assert await obey(destination, late) == [Grade.NOOP]
    assert "m1" not in await ids(admin, f"{schema}.events_consented")
    assert (await destination.read_back(late, "")).found is Found.DIFFERENT


@database
async def test_a_withdrawal_may_delete_in_the_same_transaction(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect(delete_on_withdrawal=True)
    await destination.send([track("m1"), track("m2", anonymous_id="other")], None)
    assert await obey(destination, order(Verb.GRANT, 6)) == [Grade.CONFIRMED]
    assert await ids(admin, f"{schema}.events") == ["m1", "m2"]
    assert await obey(destination, order(Verb.SUPPRESS, 7)) == [Grade.CONFIRMED]
    assert await ids(admin, f"{schema}.events") == ["m2"]


@database
async def test_an_erasure_leaves_nothing_of_the_person(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect()
    person_of_two = track("m3", anonymous_id="phone", user_id="u")
    await destination.send([track("m1"), person_of_two, track("m2", anonymous_id="other")], None)
    withdrawal, erasure = order(Verb.SUPPRESS), order(Verb.ERASE, 8)
    assert await obey(destination, withdrawal, erasure) == [Grade.CONFIRMED, Grade.CONFIRMED]
    assert await ids(admin, f"{schema}.events") == ["m2"]
    assert await admin.fetchval(f"SELECT count(*) FROM {schema}.consent_current") == 0
    assert (await destination.read_back(erasure, "")).found is Found.EQUAL
    # What was withdrawn is not missing: nothing is left that could be used.
    assert (await destination.read_back(withdrawal, "")).found is Found.EQUAL
    await destination.send([track("m4")], None)
    assert (await destination.read_back(erasure, "")).found is Found.DIFFERENT


@database
async def test_a_change_by_somebody_else_is_a_difference(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination, withdrawal = connect(), order(Verb.SUPPRESS)
    await destination.send([track("m1")], None)
    await obey(destination, withdrawal)
    await admin.execute(f"UPDATE {schema}.consent_current SET granted_at = now()")
    assert (await destination.read_back(withdrawal, "")).found is Found.DIFFERENT


@database
async def test_a_no_at_the_last_look_writes_nothing(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    def refuse() -> None:
        raise LastLookRefused

    destination = connect()
    await destination.send([track("m1")], None)
    with pytest.raises(LastLookRefused):
        await destination.obey([order(Verb.SUPPRESS)], refuse)
    assert await admin.fetchval(f"SELECT count(*) FROM {schema}.consent_current") == 0
    assert await obey(destination, order(Verb.SUPPRESS)) == [Grade.CONFIRMED]


@database
@pytest.mark.parametrize("name", ["a\0b", "\ud800"], ids=["nul", "surrogate"])
async def test_an_id_that_a_database_cannot_say_is_final_and_pauses_nothing(
    connect: Connect, name: str
) -> None:
    attempted = await connect().obey([order(Verb.SUPPRESS, person=Person((name,)))], None)
    (outcome,) = attempted.outcomes
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_FINAL, False)
    assert name not in outcome.detail


@database
async def test_a_database_that_is_older_gets_its_column(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    await connect().send([track("m1")], None)
    await admin.execute(f"COMMENT ON VIEW {schema}.events_consented IS 'consentry old'")
    await admin.execute(f"ALTER TABLE {schema}.consent_current DROP COLUMN seq")
    assert await obey(connect(), order(Verb.SUPPRESS)) == [Grade.CONFIRMED]


# Pure


def test_only_needed_categories_are_written_and_what_is_not_known_is_denied() -> None:
    told = told_of(order(Verb.GRANT, consent={"a": True, "b": True}), ("a", "c"))
    assert told.states == (
        ("anonymous", "device-1", "a", True),
        ("anonymous", "device-1", "c", False),
        ("user", "u", "a", True),
        ("user", "u", "c", False),
    )
    everything = told_of(order(Verb.GRANT, consent={"a": True, "b": False}), ())
    assert {state[2:] for state in everything.states} == {("a", True), ("b", False)}


def test_without_a_time_nothing_is_written() -> None:
    with pytest.raises(Unsendable):
        told_of(order(Verb.SUPPRESS, received_at="yesterday"), ())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=6))
def test_the_latest_order_is_what_stands(told: list[tuple[bool, int]]) -> None:
    """The rule of the upsert, in Python: whatever comes first, the newest is left."""
    newest = max(seq for _, seq in told)
    by_seq = {seq: granted for granted, seq in told}
    for arrived in itertools.islice(itertools.permutations(by_seq.items()), 24):
        row: tuple[str, int] | None = None
        for seq, granted in arrived:
            if row is None or seq > row[1]:
                row = ("granted" if granted else "denied", seq)
        assert row is not None
        assert row[1] == newest
        for seq, granted in by_seq.items():
            assert stands(row, granted, seq)
    assert not stands(None, True, 1)
    assert not stands(("granted", None), False, 1)
    assert not stands(("granted", newest), False, newest)
