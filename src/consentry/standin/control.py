"""Modes and journals: how a test bends the stand-in, and how it reads what arrived.

A mode belongs to a vendor. Each request to the vendor takes its mode when its headers are
handled, in the order of arrival: the first ``after`` requests are ``ok``, the next ``count``
(all, if it is absent) have the mode, the rest are ``ok`` again.

The journal is the evidence for "nothing was sent after the withdrawal". So a request is in it
even when it was refused, reset or never finished, and its start is taken before its body is
read. It is bounded, and a reader is told how many entries it can no longer see.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

JOURNAL_ENTRIES: Final = 100_000
JOURNAL_BYTES: Final = 128 * 1024 * 1024
PAGE_ENTRIES: Final = 10_000
PAGE_BYTES: Final = 16 * 1024 * 1024
SLOW_DELAY_MS: Final = 30_000
HIDDEN: Final = "***"

_SECRET_MEMBERS: Final = frozenset(
    {"writeKey", "api_secret", "api_key", "access_token", "token", "$token"}
)
_SECRET_PARAMETERS: Final = frozenset(
    {"api_secret", "api_key", "apikey", "access_token", "token", "key", "writekey", "write_key"}
    | {"secret", "password", "signature", "sig"}
)


class Mode(StrEnum):
    """How a vendor behaves. The names are fixed by the stand-in's interface."""

    OK = "ok"
    NOOP = "noop"  # a success that did nothing
    PARTIAL = "partial"  # some of it done
    RATE_LIMITED = "429"
    UNAUTHORIZED = "401"
    SERVER_ERROR = "5xx"
    SLOW = "slow"  # done, and answered late
    RESET = "reset"  # the connection is reset before an answer; nothing is done
    GARBAGE = "garbage"  # 200 and bytes that are no JSON; nothing is done
    TRUNCATE = "truncate"  # done, and the answer is cut


APPLYING: Final = frozenset({Mode.OK, Mode.PARTIAL, Mode.SLOW, Mode.TRUNCATE})
"""The modes in which a vendor takes the request over into its own state."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``POST /_ctl/{vendor}`` asked for. ``retry_after`` is in seconds."""

    mode: Mode = Mode.OK
    after: int = 0
    count: int | None = None
    retry_after: int | None = None
    delay_ms: int | None = None

    def holds_for(self, index: int) -> bool:
        """Whether request number ``index`` (from 0) since the plan was set has its mode."""
        if index < self.after:
            return False
        return self.count is None or index < self.after + self.count

    def wait_s(self) -> float:
        """Seconds to wait before the answer."""
        if self.delay_ms is not None:
            return self.delay_ms / 1000
        return SLOW_DELAY_MS / 1000 if self.mode is Mode.SLOW else 0.0

    def shown(self) -> dict[str, Any]:
        """The plan as JSON, without what was not asked for."""
        told: dict[str, Any] = {"mode": self.mode.value, "after": self.after}
        for name in ("count", "retry_after", "delay_ms"):
            if (value := getattr(self, name)) is not None:
                told[name] = value
        return told


class Refusal(Exception):
    """A control request that cannot be done: status, code, message and perhaps a field."""

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "message": message} | ({"field": field} if field else {})


def plan_from(body: object) -> Plan:
    """The plan in a control request's body. Raises :class:`Refusal` (400) naming the field."""
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_body", "The body must be a JSON object.")
    if unknown := sorted(set(body) - {"mode", "after", "count", "retry_after", "delay_ms"}):
        raise Refusal(400, "unknown_field", f"There is no field {unknown[0]!r}.", unknown[0])
    try:
        mode = Mode(str(body.get("mode")))
    except ValueError:
        known = ", ".join(Mode)
        raise Refusal(400, "unknown_mode", f"mode must be one of: {known}.", "mode") from None
    return Plan(
        mode=mode,
        after=_whole(body, "after", least=0) or 0,
        count=_whole(body, "count", least=1),
        retry_after=_whole(body, "retry_after", least=0),
        delay_ms=_whole(body, "delay_ms", least=0),
    )


def _whole(body: Mapping[str, Any], name: str, *, least: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise Refusal(400, "invalid_field", f"{name} must be a whole number >= {least}.", name)
    return value


class Switch:
    """The mode of one vendor and how many requests have taken it."""

    def __init__(self) -> None:
        self._plan = Plan()
        self._taken = 0

    def set(self, plan: Plan) -> None:
        """Start ``plan``; its counting begins with the next request."""
        self._plan, self._taken = plan, 0

    def take(self) -> Plan:
        """What the request that has just arrived gets."""
        plan = self._plan if self._plan.holds_for(self._taken) else Plan()
        self._taken += 1
        return plan

    def shown(self) -> dict[str, Any]:
        """The plan, how many requests took it, and the mode that the next one will get."""
        following = self._plan.mode if self._plan.holds_for(self._taken) else Mode.OK
        return self._plan.shown() | {"taken": self._taken, "next_mode": following.value}


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks. The monotonic one compares within one machine only."""

    unix_s: float
    monotonic_ns: int

    @classmethod
    def now(cls) -> Moment:
        """Read the clocks; the stand-in reads them nowhere else."""
        return cls(time.time(), time.monotonic_ns())

    @property
    def rfc3339(self) -> str:
        """The wall clock in UTC with microseconds."""
        moment = datetime.fromtimestamp(self.unix_s, UTC)
        return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Ids:
    """Whom and what a request was about, each id once, in the order of appearance."""

    message_ids: dict[str, None] = field(default_factory=dict)
    user_ids: dict[str, None] = field(default_factory=dict)
    anonymous_ids: dict[str, None] = field(default_factory=dict)

    def add(self, *, message: object = None, user: object = None, anonymous: object = None) -> None:
        """Note ids; each may be one string or a list of them, and anything else is ignored."""
        for found, into in (
            (message, self.message_ids),
            (user, self.user_ids),
            (anonymous, self.anonymous_ids),
        ):
            for value in found if isinstance(found, list) else [found]:
                if isinstance(value, str) and value:
                    into[value] = None

    def shown(self) -> dict[str, list[str]]:
        """The ids as the journal's ``ids`` member."""
        return {
            "messageIds": list(self.message_ids),
            "userIds": list(self.user_ids),
            "anonymousIds": list(self.anonymous_ids),
        }


@dataclass(slots=True)
class Entry:
    """One request. ``status`` is None until it is answered, for ever if it never was."""

    n: int
    started: Moment
    method: str
    path: str
    query: Mapping[str, str]
    raw: bytes
    ids: Ids
    mode: Mode
    ended: Moment | None = None
    status: int | None = None

    def shown(self) -> dict[str, Any]:
        """The entry as JSON, without secrets."""
        return {
            "n": self.n,
            "started_at": self.started.rfc3339,
            "started_monotonic_ns": self.started.monotonic_ns,
            "ended_at": self.ended.rfc3339 if self.ended else None,
            "ended_monotonic_ns": self.ended.monotonic_ns if self.ended else None,
            "method": self.method,
            "path": self.path,
            "query": shown_query(self.query),
            "body": shown_body(self.raw),
            "ids": self.ids.shown(),
            "mode": self.mode.value,
            "status": self.status,
        }


def shown_query(query: Mapping[str, str]) -> dict[str, str]:
    """A request's parameters with its keys hidden."""
    return {
        name: HIDDEN if name.lower() in _SECRET_PARAMETERS else value
        for name, value in query.items()
    }


def shown_body(raw: bytes) -> Any:
    """A request body as JSON with its keys hidden, as text if it is no JSON, None if empty."""
    if not raw:
        return None
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return raw.decode("utf-8", "replace")
    if isinstance(body, list):
        return [_without_secrets(x) if isinstance(x, dict) else x for x in body]
    if isinstance(body, dict):
        body = _without_secrets(body)
        if isinstance(items := body.get("batch"), list):
            body["batch"] = [_without_secrets(x) if isinstance(x, dict) else x for x in items]
    return body


def _without_secrets(body: dict[str, Any]) -> dict[str, Any]:
    return {name: HIDDEN if name in _SECRET_MEMBERS else body[name] for name in body}


class Journal:
    """What arrived at one vendor, oldest first; the oldest go when it is full."""

    def __init__(
        self, *, max_entries: int = JOURNAL_ENTRIES, max_bytes: int = JOURNAL_BYTES
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: dict[int, Entry] = {}
        self._bytes = 0
        self._last = 0

    def open(
        self,
        *,
        started: Moment,
        method: str,
        path: str,
        query: Mapping[str, str],
        raw: bytes,
        ids: Ids,
        mode: Mode,
    ) -> Entry:
        """Add an entry once the body has been read, so that what is listed is complete.

        ``n`` therefore follows the end of reading; order by ``started_monotonic_ns`` for starts.
        """
        self._last += 1
        entry = Entry(self._last, started, method, path, query, raw, ids, mode)
        self._entries[entry.n] = entry
        self._bytes += len(raw)
        while len(self._entries) > self._max_entries or (
            self._bytes > self._max_bytes and len(self._entries) > 1
        ):
            oldest = self._entries.pop(next(iter(self._entries)))
            self._bytes -= len(oldest.raw)
        return entry

    def page(self, after: int, limit: int = PAGE_ENTRIES) -> dict[str, Any]:
        """Entries with ``n > after``, at most ``limit`` of them and about 16 MiB of bodies.

        ``next`` is the ``after`` of the following page, and None when nothing was found.
        ``lost`` counts entries after ``after`` that the journal no longer holds.
        """
        first = next(iter(self._entries), self._last + 1)
        found: list[dict[str, Any]] = []
        size = 0
        for n in range(max(after + 1, first), self._last + 1):
            if len(found) >= limit or size >= PAGE_BYTES:
                break
            entry = self._entries[n]
            size += len(entry.raw)
            found.append(entry.shown())
        return {
            "entries": found,
            "next": found[-1]["n"] if found else None,
            "lost": max(0, first - after - 1),
        }
