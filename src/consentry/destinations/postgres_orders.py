"""Orders at a database of one's own: the reference for `confirmed`.

A withdrawal or a grant is written to `consent_current`, each with its place in the ledger: an
older one never undoes a newer one, and a repetition changes nothing. An erasure deletes what is
there of a person. Each is one statement, and so one transaction; what stands then is selected,
and that is the proof.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from consentry.core.delivery import Grade, Outcome
from consentry.core.order import Verb
from consentry.destinations.instruction import Found, Instruction, Orders, Person, Reading
from consentry.destinations.postgres_rows import moment

if TYPE_CHECKING:
    from asyncpg import Connection

ORDERS = Orders(
    verbs=dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.CONFIRMED),
    needs=frozenset({"anonymous_ids", "user_ids"}),
    cannot=(
        "Confirmed means what the two tables hold: not who read them before, nor copies, replicas "
        "and backups."
    ),
    reads_back=True,
)


@dataclass(frozen=True, slots=True)
class Told:
    """What an order says to a database: the parameters of its statement, in their order.

    ``states`` are (subject kind, subject, category, granted); none for an erasure.
    """

    person: Person
    states: tuple[tuple[str, str, str, bool], ...]
    at: datetime
    seq: int
    erase: bool

    @property
    def subjects(self) -> list[list[str]]:
        """Devices and accounts: whose events are meant."""
        return [list(self.person.anonymous_ids), list(self.person.user_ids)]

    @property
    def parameters(self) -> list[Any]:
        """As the statement of `write` takes them."""
        if self.erase:
            return self.subjects
        columns = [[state[n] for state in self.states] for n in range(4)]
        return [*columns, self.at, self.seq]


def told_of(instruction: Instruction, needs: Sequence[str]) -> Told:
    """What an order says. Raises `Unsendable` without a readable time.

    It counts from when it was received, as denials do everywhere. Of all categories those are
    written that the destination ``needs``; all of them where it names none.
    """
    erase = instruction.verb is Verb.ERASE
    consent: Mapping[str, bool] = instruction.consent
    categories = sorted(set(needs) if needs else set(consent))
    who = [("anonymous", one) for one in instruction.person.anonymous_ids]
    who += [("user", one) for one in instruction.person.user_ids]
    states = [
        (kind, subject, category, consent.get(category) is True)
        for kind, subject in who
        for category in categories
    ]
    at = moment(instruction.received_at, "receivedAt")
    return Told(instruction.person, () if erase else tuple(states), at, instruction.seq, erase)


_THEIRS = "(anonymous_id = ANY ($1::text[]) OR user_id = ANY ($2::text[]))"
_KEPT = (
    "((subject_kind = 'anonymous' AND subject = ANY ($1::text[])) "
    "OR (subject_kind = 'user' AND subject = ANY ($2::text[])))"
)


def write(schema: str, told: Told, *, delete: bool) -> str:
    """The statement of an order. ``delete``: events go with the consent to them."""
    if told.erase:
        return f"""
WITH gone AS (DELETE FROM {schema}.events WHERE {_THEIRS} RETURNING 1),
forgotten AS (DELETE FROM {schema}.consent_current WHERE {_KEPT} RETURNING 1)
SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM forgotten)
"""  # noqa: S608 - the schema is a checked identifier
    return f"""
WITH incoming AS (
  SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
    AS one (subject_kind, subject, category, granted)
), gone AS (
  DELETE FROM {schema}.events e USING incoming i
  WHERE {"NOT i.granted" if delete else "false"}
    AND ((i.subject_kind = 'anonymous' AND e.anonymous_id = i.subject)
      OR (i.subject_kind = 'user' AND e.user_id = i.subject))
)
INSERT INTO {schema}.consent_current AS known
  (subject_kind, subject, category, denied_at, granted_at, seq)
SELECT subject_kind, subject, category,
  CASE WHEN granted THEN NULL ELSE $5::timestamptz END,
  CASE WHEN granted THEN $5::timestamptz END, $6::bigint
FROM incoming ORDER BY 1, 2, 3
ON CONFLICT (subject_kind, subject, category) DO UPDATE SET
  denied_at = GREATEST(known.denied_at, excluded.denied_at),
  granted_at = GREATEST(known.granted_at, excluded.granted_at),
  seq = excluded.seq
WHERE known.seq IS NULL OR excluded.seq >= known.seq
"""  # noqa: S608


async def read_states(connection: Connection, schema: str, told: Told) -> Reading:
    """What the tables hold of the person, beside what the order said."""
    events, rows = await _held(connection, schema, told)
    if told.erase:
        return _reading(not events and not rows, f"{events} events, {len(rows)} rows of consent")
    if not events and not rows:
        # Erased since, or never there: nothing can be used against what was said.
        denied = not any(granted for *_, granted in told.states)
        return _reading(denied, "nothing is held of this person")
    wrong = sum(
        not stands(rows.get((kind, subject, category)), granted, told.seq)
        for kind, subject, category, granted in told.states
    )
    return _reading(not wrong, f"{wrong} of {len(told.states)} states are others")


def stands(row: tuple[str, int | None] | None, granted: bool, seq: int) -> bool:
    """Whether a row says what was ordered, or what a newer order said since."""
    if row is None:
        return False
    state, kept = row
    if kept is not None and kept > seq:
        return True
    return (state == "granted") is granted


async def _held(
    connection: Connection, schema: str, told: Told
) -> tuple[int, dict[tuple[str, str, str], tuple[str, int | None]]]:
    found = await connection.fetch(
        f"SELECT subject_kind, subject, category, state, seq FROM {schema}.consent_current "  # noqa: S608
        f"WHERE {_KEPT}",
        *told.subjects,
    )
    events = await connection.fetchval(
        f"SELECT count(*) FROM {schema}.events WHERE {_THEIRS}",  # noqa: S608
        *told.subjects,
    )
    return events, {(row[0], row[1], row[2]): (row[3], row[4]) for row in found}


def _reading(equal: bool, detail: str) -> Reading:
    return Reading(Found.EQUAL if equal else Found.DIFFERENT, Grade.CONFIRMED, detail)


def outcome_of_reading(reading: Reading) -> Outcome:
    """What an attempt proves by reading what it wrote."""
    if reading.found is Found.EQUAL:
        return Outcome(Grade.CONFIRMED, detail=f"committed and read back: {reading.detail}")
    return Outcome(Grade.NOOP, detail=f"committed, but {reading.detail}")
