"""PostgreSQL, as a warehouse of one's own: the one destination that is read back.

A batch is one statement, and so one transaction; it is looked at once more right before
that statement is sent. Afterwards the ids are read back on the same connection, which is
why an attempt can be `confirmed`.

One event that the database will not have (a NUL in its text, say) must not take 499 others
with it: the batch is halved until that event is alone. If it was a choice, what it says of
consent is kept although the event is not.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations import postgres_orders as orders
from consentry.destinations import postgres_sql as sql
from consentry.destinations.http import Unsendable, digest_of, json_body, unsent
from consentry.destinations.instruction import Found, Instruction, Reading
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.postgres_faults import detail_of, is_row_fault, outcome_of
from consentry.destinations.postgres_place import (
    Checked,
    Place,
    PlaceRefused,
    check,
    parse_place,
)
from consentry.destinations.postgres_rows import Entry, columns, entry_for
from consentry.destinations.spec import ALL_EVENTS, Spec
from consentry.secret import Secret

if TYPE_CHECKING:
    from asyncpg import Connection
    from asyncpg.prepared_stmt import PreparedStatement

    from consentry.destinations.transport import OutboundClient

SPEC = Spec(
    kind="postgres",
    title="PostgreSQL",
    batch_max=500,
    batch_bytes=16 * 1024 * 1024,
    events=ALL_EVENTS,
    proves=(
        "Confirmed means that the row was read back after the transaction ended; "
        "it cannot say who reads the table or what was copied from it."
    ),
    best=Grade.CONFIRMED,
)

IDLE_MAX = 4  # connections kept between attempts
_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which database receives.

    ``url``: ``postgresql://user:password@host[:port]/database``, or with an empty host and
    ``?host=/directory`` a Unix socket; the first is used, others wait for rotation. After
    ``?`` also ``sslmode`` (disable, require, verify-full) and ``sslrootcert`` (a PEM file).
    ``schema``: lower-case, one per destination: its view knows what this one needs.
    ``create``: whether to make schema, tables and view where they are missing.
    ``timeout_s``: seconds for a whole attempt, over 0 to 60.
    ``needs``: ids of the categories that this destination needs; `events_consented` hides
    a row while one of them is denied, and, if none is named, while any category is.
    ``allow_private_host``: a database usually stands in a private network, unlike every
    other destination, so that is said here, for this one host, by whoever configures it.
    Metadata services and the like stay closed.
    ``delete_on_withdrawal``: whether a withdrawal also deletes the person's events; without it
    the view hides them.
    """

    url: tuple[Secret, ...]
    schema: str = "consentry"
    create: bool = True
    timeout_s: float = 15.0
    needs: tuple[str, ...] = ()
    allow_private_host: bool = False
    delete_on_withdrawal: bool = False

    def __post_init__(self) -> None:
        if not self.url:
            raise ValueError("url: one is needed")
        for url in self.url:
            parse_place(url.reveal())
        if not _IDENTIFIER.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise ValueError("schema: 1 to 63 of a-z, 0-9 and _, not beginning with pg_ or a digit")
        if not 0 < self.timeout_s <= 60:
            raise ValueError("timeout_s: must be over 0 and at most 60 seconds")
        if not all(c.isprintable() and c and not {"'", "\\"} & set(c) for c in self.needs):
            raise ValueError("needs: a category id must be printable, without quote or backslash")


class Postgres:
    """A connected database. Attempts may run side by side; each has its own connection."""

    def __init__(self, options: Options, client: OutboundClient) -> None:
        self.spec = SPEC
        self._options = options
        self._place: Place = parse_place(options.url[0].reveal())
        # A client that does not say so is taken to forbid.
        client_allows = client.allow_private is True
        self._allow_private = options.allow_private_host or client_allows
        self._idle: list[Connection] = []
        self._set_up_lock = asyncio.Lock()
        self._is_set_up = not options.create

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        """One attempt for 1 to 500 messages; an outcome each.

        ``last_look`` is called before every statement that holds events. If the first
        call raises, nothing was sent and it propagates; if a later one, the half that was
        still to go is `failed_retry`, and the next attempt decides about it anew.
        Raises ValueError for an empty or too large batch.
        """
        if not 1 <= len(messages) <= self.spec.batch_max:
            raise ValueError(f"a batch holds 1 to {self.spec.batch_max} messages")
        entries = [entry_for(n, message) for n, message in enumerate(messages)]
        attempt = _Attempt(entries, self._options.schema, last_look)
        connection: Connection | None = None
        whole = False  # whether the connection is known to be at rest
        try:
            async with asyncio.timeout(self._options.timeout_s):
                connection = await self._connection()
                await attempt.run(connection)
            whole = True
        except _Stopped as stopped:
            whole = True
            if not attempt.wrote:
                raise stopped.reason from None
            attempt.fail(Outcome(Grade.FAILED_RETRY, detail="stopped at the last look"))
        except _errors() as error:
            attempt.fail(outcome_of(error))
        finally:
            if connection is not None:
                self._give_back(connection, whole=whole)
        return attempt.attempted()

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        """One attempt for one order, and what the tables hold afterwards.

        What ``last_look`` raises propagates; then nothing was written.
        """
        (instruction,) = instructions
        try:
            told = orders.told_of(instruction, self._options.needs)
            said = json_body(told.parameters)
        except Unsendable as reason:
            return unsent(reason, instructions)
        if not told.erase and not told.states:
            nobody = Outcome(Grade.GATED, detail="it names nobody whom this destination knows")
            return Attempted((nobody,))
        schema, delete = self._options.schema, self._options.delete_on_withdrawal
        wrote = False

        async def tell(connection: Connection) -> Reading:
            nonlocal wrote
            statement = await connection.prepare(orders.write(schema, told, delete=delete))
            # The statement is prepared: between the look and the write nothing is waited for.
            if last_look is not None:
                try:
                    last_look()
                except Exception as reason:
                    raise _Stopped(reason) from reason
            wrote = True
            await statement.fetch(*told.parameters)
            return await orders.read_states(connection, schema, told)

        found = await self._asked(tell)
        outcome = found if isinstance(found, Outcome) else orders.outcome_of_reading(found)
        if not wrote:
            return Attempted((outcome,))
        return Attempted((outcome,), digest_of(said))

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        """What the tables hold of the person now."""
        try:
            told = orders.told_of(instruction, self._options.needs)
        except Unsendable as reason:
            return Reading(Found.UNKNOWN, detail=str(reason))
        schema = self._options.schema
        found = await self._asked(lambda c: orders.read_states(c, schema, told))
        return Reading(Found.UNKNOWN, detail=found.detail) if isinstance(found, Outcome) else found

    async def _asked(self, ask: Callable[[Connection], Awaitable[Reading]]) -> Reading | Outcome:
        """What ``ask`` reads on a connection, or what came in between."""
        connection: Connection | None = None
        whole = False
        try:
            async with asyncio.timeout(self._options.timeout_s):
                connection = await self._connection()
                reading = await ask(connection)
            whole = True
            return reading
        except _Stopped as stopped:
            whole = True
            raise stopped.reason from None
        except _errors() as error:
            if is_row_fault(error):  # an identifier that the database cannot say
                return Outcome(Grade.FAILED_FINAL, detail=detail_of(error))
            return outcome_of(error)
        finally:
            if connection is not None:
                self._give_back(connection, whole=whole)

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        await asyncio.to_thread(import_module, "asyncpg")  # slow the first time, then nothing
        checked = await check(self._place, allow_private=self._allow_private)
        connection = await _connect(self._place, checked)
        try:
            await self._set_up(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _set_up(self, connection: Connection) -> None:
        """Make what is missing, once. Nothing is touched if it is as it should be."""
        schema = self._options.schema
        async with self._set_up_lock:
            if self._is_set_up:
                return
            statements = sql.set_up(schema, self._options.needs)
            form = sql.form_of(statements)
            if await connection.fetchval(sql.FORM_NOW, schema) != form:
                async with connection.transaction():
                    await connection.execute(sql.LOCK_SET_UP, schema)
                    # Whoever had the lock before may have made it, and writes by now: tables are
                    # not locked once more under its hands.
                    if await connection.fetchval(sql.FORM_NOW, schema) != form:
                        await connection.execute(statements)
            self._is_set_up = True

    def _give_back(self, connection: Connection, *, whole: bool) -> None:
        """Keep the connection if its attempt ended well; an unknown state is not kept."""
        if whole and len(self._idle) < IDLE_MAX and not connection.is_closed():
            self._idle.append(connection)
        else:
            connection.terminate()

    async def close(self) -> None:
        """Close every connection that is kept. An attempt under way closes its own."""
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=2)
            except _errors():
                connection.terminate()


class _Stopped(Exception):
    """The last look said no. Wrapped, so that no error of the network is mistaken for it."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


class _Attempt:
    """One attempt: what is known of each entry so far. ``wrote``: whether anything left."""

    def __init__(self, entries: Sequence[Entry], schema: str, last_look: LastLook | None) -> None:
        self._entries = entries
        self._schema = schema
        self._last_look = last_look
        self._outcomes: dict[int, Outcome] = {}
        self._committed: list[Entry] = []
        self.wrote = False

    async def run(self, connection: Connection) -> None:
        """Write everything that can be written, then read it back."""
        write = await connection.prepare(sql.write(self._schema))
        todo = [[entry for entry in self._entries if entry.row is not None]]
        for entry in self._entries:
            if entry.row is None:
                await self._refuse(write, entry, entry.reason)
        while todo:
            part = todo.pop()
            try:
                await self._write(write, part)
                self._committed += part
            except _errors() as error:
                if not is_row_fault(error):
                    raise
                if len(part) == 1:
                    await self._refuse(write, part[0], detail_of(error))
                else:
                    half = len(part) // 2
                    todo += [part[half:], part[:half]]
        await self._read_back(connection)

    async def _write(self, write: PreparedStatement, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        rows = [entry.row for entry in entries if entry.row is not None]
        changes = [change for entry in entries for change in entry.changes]
        events = columns(rows, len(sql.EVENT_COLUMNS))
        folded = columns(changes, len(sql.CHANGE_COLUMNS))
        # The statement is prepared: between the look and the write nothing is waited for.
        if self._last_look is not None:
            try:
                self._last_look()
            except Exception as reason:
                raise _Stopped(reason) from reason
        self.wrote = True
        await write.fetch(*events, *folded)

    async def _refuse(self, write: PreparedStatement, entry: Entry, detail: str) -> None:
        """Give up the event, but not what it says of consent: a withdrawal must arrive."""
        if entry.changes:
            try:
                await self._write(write, [replace(entry, row=None)])
                detail += "; its choice was kept"
            except _errors() as error:
                if not is_row_fault(error):
                    raise
                detail += "; its choice could not be kept"
        self._outcomes[entry.position] = Outcome(Grade.FAILED_FINAL, detail=detail)

    async def _read_back(self, connection: Connection) -> None:
        ids = [entry.row.message_id for entry in self._committed if entry.row is not None]
        if not ids:
            return
        found = {row[0] for row in await connection.fetch(sql.read_back(self._schema), ids)}
        confirmed = Outcome(Grade.CONFIRMED, detail="committed and read back")
        missing = Outcome(Grade.NOOP, detail="committed, but the table does not hold the row")
        for entry in self._committed:
            assert entry.row is not None, "only rows are committed"
            there = entry.row.message_id in found
            self._outcomes[entry.position] = confirmed if there else missing

    def fail(self, outcome: Outcome) -> None:
        """The attempt ended early. What was committed before is accepted nevertheless."""
        detail = f"committed, not read back: {outcome.detail}"
        for entry in self._committed:
            accepted = Outcome(Grade.ACCEPTED, detail=detail)
            self._outcomes.setdefault(entry.position, accepted)
        for entry in self._entries:
            self._outcomes.setdefault(entry.position, outcome)

    def attempted(self) -> Attempted:
        """An outcome each, and the digest of the rows as JSON if anything left."""
        outcomes = tuple(self._outcomes[entry.position] for entry in self._entries)
        if not self.wrote:
            return Attempted(outcomes)
        rows = msgspec.json.encode([entry.row for entry in self._entries])
        return Attempted(outcomes, hashlib.sha256(rows).hexdigest())


async def _connect(place: Place, checked: Checked) -> Connection:
    """Connect to one of the checked addresses. Every parameter the environment could set
    in our place is given here."""
    import asyncpg

    return await asyncpg.connect(
        host=list(checked.hosts),
        port=place.port,
        user=place.user,
        password=place.password,
        database=place.database,
        ssl=checked.tls or False,
        target_session_attrs="any",
        server_settings={"application_name": "consentry"},
    )


def _errors() -> tuple[type[BaseException], ...]:
    """What driver and network raise. A timeout is an OSError."""
    import asyncpg

    return (
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,
        PlaceRefused,
        OSError,
    )
