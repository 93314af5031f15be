"""Parquet files in a directory: one attempt is one file.

A file appears whole or not at all: it is written under a name that readers skip, made
durable, and renamed. Its name follows from the ids of its events, so that the same batch
tried again overwrites its own file. A batch that is cut differently on the next try makes
another file: readers that need each event once group by ``message_id``.

What is written stays: a later withdrawal does not reach into a file. Join the files with
current consent when reading, or let the directory's retention remove them.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.http import Unsendable, json_body
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.spec import ALL_EVENTS, Spec

if TYPE_CHECKING:
    import pyarrow

    from consentry.destinations.transport import OutboundClient

ROWS_MAX = 10_000

SPEC = Spec(
    kind="parquet",
    title="Parquet files",
    batch_max=ROWS_MAX,
    batch_bytes=64 * 1024 * 1024,
    events=ALL_EVENTS,
    proves=(
        "Confirmed means that the finished file was opened again and holds as many rows as "
        "were written; it cannot say who copied it."
    ),
    best=Grade.CONFIRMED,
)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the files go.

    ``path``: a directory, made if it is missing; files lie below it in
    ``date=YYYY-MM-DD/``. ``max_rows``: rows in one file, 1 to 10 000. ``linger_s``: seconds
    that an event may wait for others to share its file, 0 to 3,600.
    """

    path: str
    max_rows: int = ROWS_MAX
    linger_s: float = 10.0

    def __post_init__(self) -> None:
        if not self.path or "\0" in self.path:
            raise ValueError("path: must be the name of a directory")
        if not 1 <= self.max_rows <= ROWS_MAX:
            raise ValueError(f"max_rows: must be 1 to {ROWS_MAX}")
        if not 0 <= self.linger_s <= 3600:
            raise ValueError("linger_s: must be 0 to 3600 seconds")


def row_for(message: Message) -> dict[str, Any]:
    """One event as a row. Raises `Unsendable` if it is no JSON or has no readable time.

    ``properties``, ``traits``, ``context`` and ``body`` are JSON text; ``consent`` is the
    effective preference per category as of this attempt.
    """
    body, event = message.body, message.body.get("event")
    ids = (message.message_id, message.anonymous_id, message.user_id, event, *message.consent)
    try:
        for text in ids:
            if isinstance(text, str):
                text.encode()
    except UnicodeEncodeError:
        raise Unsendable("an id or a name is not Unicode text") from None
    return {
        "message_id": message.message_id,
        "type": message.type,
        "event": event if isinstance(event, str) else None,
        "anonymous_id": message.anonymous_id,
        "user_id": message.user_id,
        "timestamp": _moment(message.timestamp, "timestamp"),
        "received_at": _moment(message.received_at, "receivedAt"),
        "properties": _json(body.get("properties")),
        "traits": _json(body.get("traits")),
        "context": _json(body.get("context")),
        "consent": sorted(message.consent.items()),
        "body": _json(body),
    }


def _json(value: object) -> str | None:
    return None if value is None else json_body(value).decode()


def _moment(text: str, field: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise Unsendable(f"{field}: has no zone")
        return moment.astimezone(UTC)
    except OverflowError:
        raise Unsendable(f"{field}: out of range") from None
    except ValueError as error:
        if isinstance(error, Unsendable):
            raise
        raise Unsendable(f"{field}: unreadable") from None


def name_of(rows: Sequence[dict[str, Any]]) -> str:
    """Where these rows lie, below the directory; the order of the rows does not matter.

    The date is that of the earliest ``received_at`` in UTC, the name the SHA-256 of the
    sorted message ids, each with its length before it, so that no two lists agree.
    """
    ids = sorted(row["message_id"].encode() for row in rows)
    digest = hashlib.sha256(b"".join(b"%d:%b" % (len(one), one) for one in ids)).hexdigest()
    day = min(row["received_at"] for row in rows).date().isoformat()
    return f"date={day}/{digest}.parquet"


def schema() -> pyarrow.Schema:
    """The columns. Times are microseconds in UTC."""
    import pyarrow as pa

    moment = pa.timestamp("us", tz="UTC")
    return pa.schema(
        [
            pa.field("message_id", pa.string(), nullable=False),
            pa.field("type", pa.string(), nullable=False),
            pa.field("event", pa.string()),
            pa.field("anonymous_id", pa.string()),
            pa.field("user_id", pa.string()),
            pa.field("timestamp", moment, nullable=False),
            pa.field("received_at", moment, nullable=False),
            pa.field("properties", pa.string()),
            pa.field("traits", pa.string()),
            pa.field("context", pa.string()),
            pa.field("consent", pa.map_(pa.string(), pa.bool_()), nullable=False),
            pa.field("body", pa.string(), nullable=False),
        ]
    )


def encoded(rows: Sequence[dict[str, Any]]) -> bytes:
    """The whole file: one Parquet table, compressed with zstd."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(list(rows), schema=schema())
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return bytes(buffer.getvalue().to_pybytes())


def write_whole(target: Path, content: bytes) -> None:
    """Put ``content`` at ``target``, whole or not at all, and durably. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Readers of Parquet directories skip names that begin with a dot. The name is the same
    # on every try, so a draft that a sudden end left behind is overwritten too.
    draft = target.with_name(f".{target.name}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # Events are nothing for every account of the machine.
        with open(os.open(draft, flags, 0o640), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    for directory in (target.parent, target.parent.parent):
        _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rows_in(target: Path) -> int:
    """How many rows the file says it holds. Raises OSError, or ValueError if it is none."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(target) as file:
        return int(file.metadata.num_rows)


# What a person must change; all else (disk full, quota, input/output error) may pass.
_STANDING = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    }
)


def outcome_of(error: OSError) -> Outcome:
    """What an error of the file system means. Only its name is told, not the path.

    The same would meet every other batch, so a standing error pauses the destination.
    """
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    standing = error.errno in _STANDING
    grade = Grade.FAILED_FINAL if standing else Grade.FAILED_RETRY
    return Outcome(grade, detail=f"the file could not be written: {name}", pause=standing)


@dataclass(frozen=True, slots=True)
class _File:
    target: Path
    content: bytes
    count: int


class Parquet:
    """A connected directory. One file is made at a time, in a thread."""

    def __init__(self, options: Options, client: OutboundClient) -> None:
        self.spec = replace(SPEC, batch_max=options.max_rows, linger_s=options.linger_s)
        self._path = Path(options.path)
        self._one_at_a_time = asyncio.Lock()

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        """One attempt for 1 to ``spec.batch_max`` messages: one file, an outcome each.

        ``last_look`` is called when the file is ready in memory and nothing is on disk.
        Raises ValueError for an empty or too large batch.
        """
        if not 1 <= len(messages) <= self.spec.batch_max:
            raise ValueError(f"a batch holds 1 to {self.spec.batch_max} messages")
        async with self._one_at_a_time:
            rows, refused = await asyncio.to_thread(_rows, messages)
            if not rows:
                return Attempted(tuple(refused[n] for n in range(len(messages))))
            content = await asyncio.to_thread(encoded, rows)
            file = _File(self._path / name_of(rows), content, len(rows))
            if last_look is not None:
                last_look()
            outcome = await asyncio.to_thread(_write_and_read_back, file)
        outcomes = tuple(refused.get(n, outcome) for n in range(len(messages)))
        return Attempted(outcomes, hashlib.sha256(content).hexdigest())

    async def close(self) -> None:
        """Nothing is held between attempts."""


def _rows(messages: Sequence[Message]) -> tuple[list[dict[str, Any]], dict[int, Outcome]]:
    """The rows that can be written, and the outcome of each message that cannot."""
    rows: list[dict[str, Any]] = []
    refused: dict[int, Outcome] = {}
    for n, message in enumerate(messages):
        try:
            rows.append(row_for(message))
        except Unsendable as reason:
            refused[n] = Outcome(Grade.FAILED_FINAL, detail=str(reason))
    return rows, refused


def _write_and_read_back(file: _File) -> Outcome:
    try:
        write_whole(file.target, file.content)
    except OSError as error:
        return outcome_of(error)
    try:
        count = rows_in(file.target)
    except (OSError, ValueError) as error:  # it is there; the reading failed
        reason = type(error).__name__
        return Outcome(Grade.ACCEPTED, detail=f"written, not read back: {reason}")
    if count != file.count:
        return Outcome(Grade.NOOP, detail=f"written, but {count} of {file.count} rows are there")
    return Outcome(Grade.CONFIRMED, detail="written and read back")
