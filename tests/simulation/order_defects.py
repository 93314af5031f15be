"""Seeded defects of orders and of what vendors report: parts that break one promise each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from consentry.core.choice import Answer
from consentry.core.order import OrderState, Verb
from consentry.destinations.instruction import Found, Heard, Instruction, Person, Reading
from consentry.destinations.message import Attempted, LastLook
from consentry.flow.heard import keys_of, source_of
from consentry.flow.record_choice import Answered, record_choice
from consentry.flow.records import Origin, Said
from consentry.flow.world import World
from consentry.orders import Order, Tried
from consentry.ports import Commit, Committed
from tests.simulation.defects import SaysItIsWell
from tests.simulation.destination import OUTCOMES, Line
from tests.simulation.process import Parts
from tests.simulation.store import Disk


class LosesOrders(Disk):
    """Writes the record and not what it owes."""

    async def commit(self, commit: Commit) -> Committed:
        return await super().commit(msgspec.structs.replace(commit, orders=()))


class _LeavesOut(Disk):
    """Orders of one verb are over before they were told."""

    verb: Verb

    async def commit(self, commit: Commit) -> Committed:
        over = {"state": OrderState.SUPERSEDED, "why": "it was forgotten"}
        orders = [
            msgspec.structs.replace(order, **over) if order.verb is self.verb else order
            for order in commit.orders
        ]
        return await super().commit(msgspec.structs.replace(commit, orders=tuple(orders)))


class ClosesItsGateAlone(_LeavesOut):
    """Tells nobody of a refusal."""

    verb = Verb.SUPPRESS


class TellsNoYes(_LeavesOut):
    """Tells nobody that somebody has said yes again."""

    verb = Verb.GRANT


class KeepsNoEnds(Disk):
    """Writes where an order stands, and no record of it."""

    async def commit(self, commit: Commit) -> Committed:
        if commit.tried:
            commit = msgspec.structs.replace(commit, records=())
        return await super().commit(commit)


class GivesWayToItself(Disk):
    """Says of an order that it gave way to itself."""

    async def commit(self, commit: Commit) -> Committed:
        tried = [
            one._replace(order=msgspec.structs.replace(one.order, superseded_by=one.order.order_id))
            if one.order.superseded_by is not None
            else one
            for one in commit.tried
        ]
        return await super().commit(msgspec.structs.replace(commit, tried=tuple(tried)))


class LosesItsPlace(Disk):
    """Sets an order back to waiting whenever something came of it, once it is terminal."""

    async def commit(self, commit: Commit) -> Committed:
        tried = [
            Tried(msgspec.structs.replace(one.order, state=OrderState.WAITING), one.attempt)
            if one.order.state is OrderState.TERMINAL
            else one
            for one in commit.tried
        ]
        return await super().commit(msgspec.structs.replace(commit, tried=tuple(tried)))


class _Book:
    """The orders of a disk, but for what is asked of those that wait."""

    def __init__(self, disk: Disk, waiting: Callable[..., Sequence[Order]]) -> None:
        self._orders = disk.kept.orders
        self.waiting = waiting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._orders, name)


class HidesTheEldest(Disk):
    """Of several orders that wait, the first is not found."""

    @property
    def orders(self) -> Any:
        return _Book(self, lambda *asked: self.kept.orders.waiting(*asked)[1:])


class FindsWhatIsOver(Disk):
    """What is over is found among what waits."""

    def _both(self, name: str, after: int = -1, limit: int = 1000) -> Sequence[Order]:
        over = self.kept.orders.find(None, name, OrderState.TERMINAL)
        again = (o for o in over if o.verb is not Verb.GATE and o.number > after)
        waiting = self.kept.orders.waiting(name, after, limit)
        return sorted((*again, *waiting), key=lambda order: order.number)

    @property
    def orders(self) -> Any:
        return _Book(self, self._both)


class Pretends(Line):
    """Says that it was told, and was not."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        return Attempted((OUTCOMES["ok"],) * len(told))


class TellsAnyway(Line):
    """Does not ask again before it tells."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        return await super().obey(told, lambda: None)


class _Renames(Line, ABC):
    """Names other people than it was given."""

    @abstractmethod
    def whom(self, one: Instruction) -> Person:
        """Who is named instead."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        renamed = [replace(one, person=self.whom(one)) for one in told]
        return await super().obey(renamed, last_look)


class NamesAnybody(_Renames):
    """Names an account with every order."""

    def whom(self, one: Instruction) -> Person:
        return replace(one.person, user_ids=tuple({*one.person.user_ids, "u0"}))


class NamesByAnything(_Renames):
    """Names devices to a system that knows none."""

    def whom(self, one: Instruction) -> Person:
        return replace(one.person, anonymous_ids=tuple({*one.person.anonymous_ids, "a0"}))


class GrantsForAll(_Renames):
    """With a yes it names everybody who may be the same person."""

    def whom(self, one: Instruction) -> Person:
        if one.verb is not Verb.GRANT:
            return one.person
        return Person(("a0", "a1", "a2"), ("u0", "u1"))


class BelievesWhatItTold(Line):
    """Does not look what is held."""

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        return Reading(Found.EQUAL)


def _reported(
    *, back: bool = False, again: bool = False, yes: bool = False
) -> Callable[[World, str, Sequence[Heard]], Any]:
    """What vendors report, told back to them, told again for ever, or a yes believed."""

    async def take(world: World, destination: str, heard: Sequence[Heard]) -> list[Answered]:
        found = []
        for one in heard:
            keys = frozenset(keys_of(world, destination, one))
            answer = Answer(frozenset(), keys if one.denied else frozenset())
            if yes and not one.denied:
                answer = Answer(keys, frozenset())
            now = world.clock.now()
            said = Said((one.node,), answer, now, now)
            origin = Origin(source_of(destination), "server")
            but = None if back else destination
            found.append(await record_choice(world, said, origin, but=but))
        return found

    assert back or again or yes
    return take


ORDER_DEFECTS: dict[str, Parts] = {
    **{
        one.__name__: Parts(disk=one)
        for one in (
            *(LosesOrders, ClosesItsGateAlone, TellsNoYes, KeepsNoEnds, GivesWayToItself),
            *(LosesItsPlace, HidesTheEldest, FindsWhatIsOver),
        )
    },
    **{
        one.__name__: Parts(line=one)
        for one in (
            *(Pretends, TellsAnyway, NamesAnybody, NamesByAnything, GrantsForAll),
            BelievesWhatItTold,
        )
    },
    "TellsWhileItIsFull": Parts(disk=SaysItIsWell),
    "TellsBack": Parts(take=_reported(back=True)),
    "TellsForEver": Parts(take=_reported(again=True)),
    "BelievesAYes": Parts(take=_reported(yes=True)),
}
