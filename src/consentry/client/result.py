"""What a gate answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

from consentry.core import decision
from consentry.core.decision import Decision

NOT_ADDED = "not_added"
SHADOW = "shadow"


class Refused(ValueError):
    """An event or a choice has the wrong shape. ``field`` names the member that is to blame.

    Nothing was recorded, and nothing was handed to anybody.
    """

    def __init__(self, code: str, message: str, field: str | None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class Decisions(Sequence[Decision]):
    """The decisions about one event: one for each configured destination, in its order."""

    __slots__ = ("_decided",)

    def __init__(self, decided: decision.Decisions) -> None:
        self._decided = decided

    @property
    def allowed(self) -> tuple[str, ...]:
        """The names of those that may receive it."""
        return tuple(one.destination for one in self._decided.ruling.each if one.allow)

    def of(self, destination: str) -> Decision | None:
        """The one about this destination; None when the configuration does not have it."""
        return self._decided.of(destination)

    @overload
    def __getitem__(self, index: int) -> Decision: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Decision, ...]: ...
    def __getitem__(self, index: int | slice) -> Decision | tuple[Decision, ...]:
        return self._decided[index]

    def __iter__(self) -> Iterator[Decision]:
        return iter(self._decided)

    def __len__(self) -> int:
        return len(self._decided)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one event: every configured destination is in exactly one of the three.

    ``delivered`` names those whose callable returned. ``withheld`` gives the reason: a
    decision's, or ``not_added`` when it was allowed and nothing was added under its name, or
    ``shadow``. ``failed`` gives what a callable raised; and a StoreError where the consent state
    could not be read any more, in which case the callable was not called.
    """

    delivered: tuple[str, ...]
    withheld: Mapping[str, str]
    failed: Mapping[str, Exception]


@dataclass(slots=True)
class Counts:
    """What became of all events so far, per destination. ``refused`` were malformed.

    ``unreadable`` counts events of which nothing was handed on, for want of the consent state.
    ``recorded`` are the choices and links that are kept in memory: see ``GateFull``.
    """

    delivered: dict[str, int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    unreadable: int = 0
    recorded: int = 0

    def add(self, result: Result, times: int = 1) -> None:
        """Count this result."""
        if not times:
            return
        for counts, names in (
            (self.delivered, result.delivered),
            (self.withheld, result.withheld),
            (self.failed, result.failed),
        ):
            for name in names:
                counts[name] = counts.get(name, 0) + times

    def copy(self) -> Counts:
        """The same counts, apart from these."""
        counts = (dict(self.delivered), dict(self.withheld), dict(self.failed))
        return Counts(*counts, self.refused, self.unreadable, self.recorded)
