"""PostgreSQL, against a real server."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.message import Attempted, LastLookRefused, Message
from consentry.destinations.postgres import Options, Postgres
from consentry.destinations.transport import OutboundClient
from consentry.secret import Secret
from tests.destinations.messages import NOON, choice, track
from tests.pg import PASSWORD, Server, postgres_server

__all__ = ["postgres_server"]

pytestmark = pytest.mark.postgres
NUL = "\0"


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient()
    yield client
    await client.close()


@pytest.fixture
async def admin(postgres_server: Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres_server.url())
    yield connection
    await connection.close()


_schemas = (f"test_{n}" for n in itertools.count())


@pytest.fixture
def schema() -> str:
    """A schema of this test's own."""
    return next(_schemas)


Connect = Callable[..., Postgres]


@pytest.fixture
async def connect(
    postgres_server: Server, client: OutboundClient, schema: str
) -> AsyncIterator[Connect]:
    """Connects a destination; what is not said is right for the server."""
    made: list[Postgres] = []

    def connect(**said: Any) -> Postgres:
        url = said.pop("url", postgres_server.url())
        usual = {"schema": schema, "allow_private_host": True, "timeout_s": 10}
        made.append(Postgres(Options(url=(Secret(url),), **{**usual, **said}), client))
        return made[-1]

    yield connect
    for destination in made:
        await destination.close()


def grades(attempted: Attempted) -> list[Grade]:
    return [outcome.grade for outcome in attempted.outcomes]


def only(attempted: Attempted) -> Outcome:
    (outcome,) = attempted.outcomes
    assert PASSWORD not in outcome.detail
    assert "device-1" not in outcome.detail
    return outcome


async def ids(admin: asyncpg.Connection, table: str) -> list[str]:
    rows = await admin.fetch(f"SELECT message_id FROM {table} ORDER BY message_id")
    return [row[0] for row in rows]


# Accepted


async def test_an_event_is_written_as_it_is_and_read_back(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    message = track("m1", user_id="u", received=2, properties={"a": [1]}, context={"ip": "::1"})
    attempted = await connect().send([message], None)
    assert only(attempted).grade is Grade.CONFIRMED
    assert attempted.request_digest is not None
    row = await admin.fetchrow(
        f"SELECT *, properties->'a'->0 one, body->>'messageId' again FROM {schema}.events"
    )
    assert row is not None
    assert (row["message_id"], row["type"], row["event"]) == ("m1", "track", "Order Completed")
    assert (row["anonymous_id"], row["user_id"]) == ("device-1", "u")
    assert row["timestamp"] == NOON
    assert (row["received_at"] - NOON).total_seconds() == 2
    assert (row["one"], row["again"], row["traits"]) == ("1", "m1", None)
    assert json.loads(row["consent"]) == {"analytics": True, "advertising": False}


async def test_a_repetition_is_confirmed_and_changes_nothing(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect()
    batch = [track("a"), choice("b", {"x": False}), track("a")]
    for _ in range(2):
        assert grades(await destination.send(batch, None)) == [Grade.CONFIRMED] * 3
    assert await ids(admin, f"{schema}.events") == ["a", "b"]


async def test_programs_that_start_together_make_one_schema(connect: Connect) -> None:
    several = [connect() for _ in range(4)]
    attempts = await asyncio.gather(
        *(one.send([track(f"m{n}")], None) for n, one in enumerate(several))
    )
    assert [only(attempted).grade for attempted in attempts] == [Grade.CONFIRMED] * 4


async def test_attempts_may_run_side_by_side(connect: Connect) -> None:
    destination = connect()
    attempts = await asyncio.gather(
        *(destination.send([track(f"m{n}"), choice("c", {"x": True})], None) for n in range(8))
    )
    assert {grade for attempted in attempts for grade in grades(attempted)} == {Grade.CONFIRMED}


# One bad event among good ones

POISONED = {
    "none": set[int](),
    "the first": {0},
    "the last": {499},
    "neighbours": {249, 250},
    "several": {3, 4, 77, 400},
}


@pytest.mark.parametrize("poisoned", POISONED.values(), ids=POISONED)
async def test_a_bad_event_does_not_take_its_neighbours_with_it(
    poisoned: set[int], connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    def message(n: int) -> Message:
        return track(f"m{n:03}", properties={"a": NUL} if n in poisoned else {})

    attempted = await connect().send([message(n) for n in range(500)], None)
    final = {n for n, grade in enumerate(grades(attempted)) if grade is Grade.FAILED_FINAL}
    assert final == poisoned
    assert grades(attempted).count(Grade.CONFIRMED) == 500 - len(poisoned)
    assert len(await ids(admin, f"{schema}.events")) == 500 - len(poisoned)


BAD = {
    "NUL in JSON": track("bad", properties={"a": NUL}),
    "NUL in an id": track("bad", anonymous_id=f"a{NUL}"),
    "an id too long for an index": track("b" + "".join(map(chr, range(33, 9000)))),
    "a lone surrogate": track("bad", properties={"a": "\ud800"}),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_every_kind_of_bad_event_is_final_for_itself_only(
    bad: Message, connect: Connect
) -> None:
    attempted = await connect().send([track("a"), bad, track("z")], None)
    assert grades(attempted) == [Grade.CONFIRMED, Grade.FAILED_FINAL, Grade.CONFIRMED]
    assert not attempted.outcomes[1].pause


@pytest.mark.parametrize("bad", [NUL, "\ud800"], ids=["for the database", "for JSON"])
async def test_the_denial_in_a_bad_event_is_kept(
    bad: str, connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    denial = choice("d", {"x": False}, properties={"a": bad})
    attempted = await connect().send([track("a"), denial], None)
    assert grades(attempted) == [Grade.CONFIRMED, Grade.FAILED_FINAL]
    assert "choice was kept" in attempted.outcomes[1].detail
    assert await ids(admin, f"{schema}.events") == ["a"]
    assert await ids(admin, f"{schema}.events_consented") == []


# Consent as it is now

DENIED, GRANTED = {"x": False}, {"x": True}
CHOICES = {
    "nothing said": ([], True),
    "granted": ([choice("1", GRANTED)], True),
    "denied": ([choice("1", DENIED)], False),
    "granted, then denied": ([choice("1", GRANTED, made=1), choice("2", DENIED, made=2)], False),
    "denied, then granted": ([choice("1", DENIED, made=1), choice("2", GRANTED, made=2)], True),
    "at the same moment": ([choice("1", DENIED, made=1), choice("2", GRANTED, made=1)], False),
    "granted before the denial came": (
        [choice("1", DENIED, made=1, received=9), choice("2", GRANTED, made=5, received=10)],
        False,
    ),
    "granted by a clock that runs ahead": (
        [choice("1", GRANTED, made=999, received=1), choice("2", DENIED, made=2)],
        False,
    ),
    "denied by the account alone": (
        [choice("1", DENIED, anonymous_id=None, user_id="u")],
        False,
    ),
    "denied by another device": ([choice("1", DENIED, anonymous_id="device-2")], True),
    "another category denied": ([choice("1", {"y": False})], True),
}


@pytest.mark.parametrize(("choices", "seen"), CHOICES.values(), ids=CHOICES)
async def test_the_view_follows_the_choices_in_whatever_order_they_come(
    choices: list[Message], seen: bool, connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect(needs=("x",))
    for order in itertools.permutations(choices):
        for message in [track("event", user_id="u"), *order]:
            assert only(await destination.send([message], None)).grade is Grade.CONFIRMED
        assert ("event" in await ids(admin, f"{schema}.events_consented")) is seen
        await admin.execute(f"TRUNCATE {schema}.events, {schema}.consent_current")
    together = [track("event", user_id="u"), *choices]
    assert set(grades(await destination.send(together, None))) == {Grade.CONFIRMED}
    assert ("event" in await ids(admin, f"{schema}.events_consented")) is seen


async def test_without_needs_every_denial_hides(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    await connect().send([track("a"), choice("b", {"anything": False})], None)
    assert await ids(admin, f"{schema}.events_consented") == []


async def test_the_view_is_made_anew_when_the_needs_change(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    await connect(needs=("x",)).send([track("a"), choice("b", {"y": False})], None)
    assert await ids(admin, f"{schema}.events_consented") == ["a", "b"]
    await connect(needs=("x", "y")).send([track("c", anonymous_id="other")], None)
    assert await ids(admin, f"{schema}.events_consented") == ["c"]


# The last look


class Look:
    """Says yes so many times, then raises."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left = times
        self.error = error or LastLookRefused()
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > self.left:
            raise self.error


@pytest.mark.parametrize("error", [LastLookRefused(), OSError("store"), ValueError("store")])
async def test_when_the_last_look_raises_nothing_is_written(
    error: Exception, connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    destination = connect()
    with pytest.raises(type(error)) as raised:
        await destination.send([track("a"), choice("b", DENIED)], Look(0, error))
    assert raised.value is error
    assert await ids(admin, f"{schema}.events") == []
    assert await admin.fetchval(f"SELECT count(*) FROM {schema}.consent_current") == 0
    look = Look(1)
    assert only(await destination.send([track("a")], look)).grade is Grade.CONFIRMED
    assert look.calls == 1


async def test_a_look_that_says_no_later_stops_what_has_not_gone(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    batch = [track("a"), track("b"), track("c", properties={"a": NUL}), track("d")]
    attempted = await connect().send(batch, Look(2))  # the whole, the first half, then no
    accepted, retry = Grade.ACCEPTED, Grade.FAILED_RETRY
    assert grades(attempted) == [accepted, accepted, retry, retry]
    assert await ids(admin, f"{schema}.events") == ["a", "b"]


# Refused


async def test_a_wrong_password_blocks_and_pauses(
    connect: Connect, postgres_server: Server
) -> None:
    outcome = only(await connect(url=postgres_server.url(password="no")).send([track("a")], None))
    assert (outcome.grade, outcome.pause) == (Grade.AUTH_BLOCKED, True)
    assert "28P01" in outcome.detail


async def test_a_schema_that_is_not_there_and_not_to_be_made_is_final_and_pauses(
    connect: Connect,
) -> None:
    outcome = only(await connect(create=False).send([track("a")], None))
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_FINAL, True)
    assert "42P01" in outcome.detail


@pytest.fixture
async def role(connect: Connect, admin: asyncpg.Connection, schema: str) -> str:
    """A role that may enter the schema, which is there, and nothing else."""
    await connect().send([track("first")], None)
    await admin.execute(f"CREATE ROLE {schema} LOGIN PASSWORD '{PASSWORD}'")
    await admin.execute(f"GRANT USAGE ON SCHEMA {schema} TO {schema}")
    return schema


READS = "GRANT SELECT ON ALL TABLES IN SCHEMA {0} TO {0};"
WRITES = "GRANT INSERT ON {0}.events TO {0}; GRANT INSERT, UPDATE ON {0}.consent_current TO {0};"
RIGHTS = {
    "none": ("SELECT 1", Grade.AUTH_BLOCKED),
    "reading only": (READS, Grade.AUTH_BLOCKED),
    "both": (READS + WRITES, Grade.CONFIRMED),
    "writing, not reading events": (
        WRITES + "GRANT SELECT ON {0}.consent_current TO {0};",
        Grade.ACCEPTED,
    ),
}


@pytest.mark.parametrize(("granted", "grade"), RIGHTS.values(), ids=RIGHTS)
async def test_what_the_rights_of_the_role_allow(
    granted: str,
    grade: Grade,
    role: str,
    connect: Connect,
    admin: asyncpg.Connection,
    postgres_server: Server,
) -> None:
    await admin.execute(granted.format(role))
    # `create` is on: a schema that is as it should be needs no right to make one.
    outcome = only(await connect(url=postgres_server.url(user=role)).send([track("a")], None))
    assert outcome.grade is grade


async def test_a_row_that_a_trigger_swallows_is_not_called_delivered(
    role: str, connect: Connect, admin: asyncpg.Connection
) -> None:
    await admin.execute(f"""
        CREATE FUNCTION {role}.swallow() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.message_id = 'a' THEN RETURN NULL; END IF; RETURN NEW; END $$;
        CREATE TRIGGER swallow BEFORE INSERT ON {role}.events
        FOR EACH ROW EXECUTE FUNCTION {role}.swallow()""")
    attempted = await connect().send([track("a"), track("b")], None)
    assert grades(attempted) == [Grade.NOOP, Grade.CONFIRMED]


async def test_a_private_host_is_refused_unless_that_is_said(
    connect: Connect, postgres_server: Server
) -> None:
    look = Look(9)
    for url in (postgres_server.url(), postgres_server.socket_url()):
        outcome = only(await connect(url=url, allow_private_host=False).send([track("a")], look))
        assert (outcome.grade, outcome.pause) == (Grade.FAILED_FINAL, True)
    assert look.calls == 0


# Busy, or away


async def test_a_lock_that_is_held_too_long_is_tried_again(
    connect: Connect, admin: asyncpg.Connection, schema: str
) -> None:
    await connect().send([track("first")], None)
    impatient = connect(timeout_s=0.4)
    async with admin.transaction():
        await admin.execute(f"LOCK TABLE {schema}.events IN ACCESS EXCLUSIVE MODE")
        outcome = only(await impatient.send([track("a")], None))
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_RETRY, False)
    assert only(await connect().send([track("a")], None)).grade is Grade.CONFIRMED
    assert await ids(admin, f"{schema}.events") == ["a", "first"]


BUSY = {
    "too many connections": ("ALTER ROLE {0} CONNECTION LIMIT 0", "53300"),
    "the server's own time limit": ("ALTER ROLE {0} SET statement_timeout = '200ms'", "57014"),
}


@pytest.mark.parametrize(("change", "state"), BUSY.values(), ids=BUSY)
async def test_a_busy_server_is_tried_again(
    change: str,
    state: str,
    role: str,
    connect: Connect,
    admin: asyncpg.Connection,
    postgres_server: Server,
) -> None:
    await admin.execute((READS + WRITES + change).format(role))
    async with admin.transaction():
        await admin.execute(f"LOCK TABLE {role}.events IN ACCESS EXCLUSIVE MODE")
        outcome = only(await connect(url=postgres_server.url(user=role)).send([track("a")], None))
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_RETRY, False)
    assert state in outcome.detail


async def test_a_server_that_goes_away_and_comes_back(
    connect: Connect, postgres_server: Server
) -> None:
    destination = connect()
    send: Callable[[str], Awaitable[Attempted]] = lambda m: destination.send([track(m)], None)  # noqa: E731
    assert only(await send("a")).grade is Grade.CONFIRMED
    await asyncio.to_thread(postgres_server.stop)
    try:
        for _ in range(2):  # the kept connection, then a new one
            outcome = only(await send("b"))
            assert (outcome.grade, outcome.pause) == (Grade.FAILED_RETRY, False)
    finally:
        await asyncio.to_thread(postgres_server.start)
    assert only(await send("b")).grade is Grade.CONFIRMED


# Ways in


async def test_a_unix_socket_is_a_place_too(connect: Connect, postgres_server: Server) -> None:
    attempted = await connect(url=postgres_server.socket_url()).send([track("a")], None)
    assert only(attempted).grade is Grade.CONFIRMED


TLS = {
    "the right name, the right authority": ("localhost", "?sslmode=verify-full{0}", True),
    "another name": ("127.0.0.1", "?sslmode=verify-full{0}", False),
    "an unknown authority": ("localhost", "?sslmode=verify-full", False),
    "not asked who is there": ("127.0.0.1", "?sslmode=require", True),
}


@pytest.mark.parametrize(("host", "query", "trusted"), TLS.values(), ids=TLS)
async def test_the_certificate_is_checked_against_the_configured_name(
    host: str,
    query: str,
    trusted: bool,
    connect: Connect,
    admin: asyncpg.Connection,
    postgres_server: Server,
) -> None:
    query = query.format(f"&sslrootcert={postgres_server.root_cert}")
    destination = connect(url=postgres_server.url(host=host, query=query))
    outcome = only(await destination.send([track("a")], None))
    assert outcome.grade is (Grade.CONFIRMED if trusted else Grade.FAILED_RETRY)
    encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
    if trusted:
        assert await admin.fetchval(encrypted + "WHERE application_name = 'consentry'") is True


@pytest.mark.parametrize("count", [0, 501])
async def test_a_batch_of_the_wrong_size_is_a_mistake_of_the_caller(
    count: int, connect: Connect
) -> None:
    with pytest.raises(ValueError, match="a batch holds 1 to 500"):
        await connect().send([track(f"m{n}") for n in range(count)], None)
