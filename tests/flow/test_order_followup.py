"""Orders after they were sent: tried again, said aloud when they are open for long, read back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from consentry.clerk import Clerk
from consentry.clock import Clock
from consentry.config import Alarm
from consentry.core.delivery import Grade, Outcome
from consentry.core.moment import DAY, SECOND
from consentry.core.order import OrderState, Verb
from consentry.core.policy import Mapping
from consentry.core.record import Node, NodeKind
from consentry.destinations.instruction import Found, Instruction, Orders, Reading
from consentry.destinations.message import Attempted, LastLook, Message
from consentry.destinations.transport import OutboundClient
from consentry.flow.erase import erase
from consentry.flow.propagate import holds, try_again
from consentry.flow.read_back import MOST_AGAINS, read_back
from consentry.flow.record_choice import suppress
from consentry.flow.world import Tellable, World
from consentry.orderer import Orderer
from consentry.orders import Order, Tried
from consentry.ports import Commit, StoreUnavailable
from consentry.secret import Secret
from consentry.store.memory import MemoryStore
from consentry.web.meters import Meters
from tests.destinations.wire_server import answer, serving
from tests.flow.stage import SERVER, SPEC, choose, world
from tests.store.makers import notary

ANN, BEN = Node(NodeKind.ACCOUNT, "ann"), Node(NodeKind.ACCOUNT, "ben")
VERBS = dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.CONFIRMED)
ORDERS = Orders(VERBS, frozenset({"user_ids"}), "Nothing.", reads_back=True)
DONE = Outcome(Grade.ACCEPTED, 200, "taken", ref="job-1")
BUSY = Outcome(Grade.FAILED_RETRY, 503, "busy")
WRONG = Outcome(Grade.FAILED_FINAL, 400, "no such list")
EQUAL, DIFFERENT = Reading(Found.EQUAL, Grade.CONFIRMED, "as told"), Reading(Found.DIFFERENT)


def memory() -> MemoryStore:
    return MemoryStore(notary(), clock=Clock().now)


class System:
    """A destination that answers as it is told to, and holds what it says it holds."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.spec = SPEC
        self.told: list[Instruction] = []
        self.outcomes = list(outcomes)
        self.reading = EQUAL
        self.asked: list[str] = []

    async def send(self, messages: Sequence[Message], last_look: LastLook | None) -> Attempted:
        raise AssertionError("no event is sent here")

    async def obey(
        self, instructions: Sequence[Instruction], last_look: LastLook | None
    ) -> Attempted:
        assert last_look is not None
        last_look()
        self.told += instructions
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        return Attempted((outcome,) * len(instructions), "aa", "bb")

    async def read_back(self, instruction: Instruction, ref: str) -> Reading:
        self.asked.append(ref)
        return self.reading

    async def close(self) -> None:
        """Nothing is held."""


class Place:
    """A world with one destination, its orderer and the clerk."""

    def __init__(self, made: World, system: System, client: OutboundClient) -> None:
        made.told = {"crm": Tellable(ORDERS)}
        self.world, self.system = made, system
        self.orderer = Orderer(made, "crm", system, ORDERS, chance=lambda: 0.0)
        self.meters = Meters()
        self.orderers = {"crm": self.orderer}
        self.clerk = Clerk(made, self.orderers, self.meters.orders, client)
        made.owe = self.orderer.wake

    async def until(self, condition: Any) -> None:
        running = asyncio.create_task(self.orderer.run())
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)
        await self.orderer.stop()
        await running
        self.orderer = Orderer(self.world, "crm", self.system, ORDERS, chance=lambda: 0.0)
        self.orderers["crm"] = self.orderer

    def orders(self) -> list[Order]:
        return list(reversed(self.world.store.orders.find(ANN, "crm")))

    def open(self) -> bool:
        return bool(self.world.store.orders.open(0))

    async def settle(self) -> Order:
        await self.until(lambda: not self.open())
        return self.orders()[-1]

    async def change(self, order: Order, **fields: Any) -> Order:
        changed = msgspec.structs.replace(order, **fields)
        await self.world.store.commit(Commit(tried=(Tried(changed),)))
        return changed

    async def read(self, order: Order) -> Order:
        read = await read_back(self.world, self.system, order)
        await self.world.store.commit(read.commit)
        found = self.world.store.orders.order(order.order_id)
        assert found is not None
        return found

    def outcomes(self) -> list[dict[str, Any]]:
        return [e.record.evidence for e in self.world.store.ledger() if e.record.type == "outcome"]


async def place(*outcomes: Outcome) -> Place:
    made = await world(Mapping("crm", "crm", ("analytics",)))
    return Place(made, System(*(outcomes or (DONE,))), OutboundClient(allow_private=True))


async def test_an_order_is_told_once_and_its_end_is_on_the_ledger() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    assert (order.state, order.grade, order.attempts) == (OrderState.TERMINAL, Grade.ACCEPTED, 1)
    assert order.read_at is not None
    (told,) = here.system.told
    assert (told.verb, told.order_id, told.person.user_ids) == (
        Verb.SUPPRESS, order.order_id, ("ann",),
    )  # fmt: skip
    assert told.seq == order.seq
    (end,) = here.outcomes()
    assert (end["orderId"], end["grade"], end["requestDigest"]) == (
        order.order_id,
        "accepted",
        "aa",
    )
    assert "ann" not in str(end)


async def test_a_failure_is_tried_again_under_the_same_id() -> None:
    here = await place(BUSY, BUSY, DONE)
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    assert order.attempts == 3
    assert len({told.order_id for told in here.system.told}) == 1
    grades = [a.grade for a in here.world.store.orders.attempts_of(order.order_id)]
    assert grades == ["failed_retry", "failed_retry", "accepted"]


async def test_an_order_that_ended_while_it_was_set_to_wait_is_not_told_again() -> None:
    """The operator has it tried now, and it is tried by itself before that is written."""
    here = await place(DONE)
    await choose(here.world, ANN, analytics=False)
    (waiting,) = (one for one in here.orders() if one.open)
    await here.settle()
    here.orderer._seen = waiting.number
    here.orderer.take_up([waiting])
    assert len(here.orderer.lane) == 0
    again = await here.change(waiting)
    here.orderer.take_up([again])
    assert len(here.orderer.lane) == 1


async def test_what_no_longer_holds_is_not_told_and_the_ledger_says_so() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=True)
    await choose(here.world, ANN, analytics=False)
    await here.settle()
    states = [(o.verb, o.state, o.superseded_by) for o in here.orders() if o.verb is not Verb.GATE]
    suppressed = here.orders()[-1]
    assert states[0] == (Verb.GRANT, OrderState.SUPERSEDED, suppressed.order_id)
    assert [told.verb for told in here.system.told] == [Verb.SUPPRESS]
    assert [end["grade"] for end in here.outcomes()] == ["superseded", "accepted"]


async def test_an_order_that_was_not_written_is_sent_again() -> None:
    made = await world(Mapping("crm", "crm", ("analytics",)), store=(kept := memory()))
    here = Place(made, System(DONE), OutboundClient(allow_private=True))
    await choose(here.world, ANN, analytics=False)
    kept.fail_next = StoreUnavailable("the disk is full")
    await here.settle()
    assert len(here.system.told) == 2
    assert len({told.order_id for told in here.system.told}) == 1


async def test_orders_open_for_long_are_said_once_at_each_stage() -> None:
    here = await place(BUSY)
    async with serving(answer(200)) as server:
        here.clerk.alarm = Alarm(server.url, (Secret("secret"),))
        await choose(here.world, ANN, analytics=False)
        await here.clerk.round()
        assert server.requests == []
        for after_s in (900, 86_400, 259_200):
            at = here.world.clock.now() - (after_s + 1) * SECOND
            await here.change(here.orders()[-1], acknowledged_at=at)
            await here.clerk.round()
            await here.clerk.round()
            assert b'"afterSeconds":%d' % after_s in server.requests[-1]
            assert b"order.overdue" in server.requests[-1]
        assert len(server.requests) == 3
        assert b"ann" not in b"".join(server.requests)
    assert here.orders()[-1].escalated == 3
    assert here.open()
    text = here.meters.exposition().decode()
    assert 'consentry_orders_escalated_total{after="900",destination="crm"} 1.0' in text


async def test_what_nobody_tries_to_tell_is_said_to_be_overdue_once_somebody_does() -> None:
    here = await place(BUSY)
    async with serving(answer(200)) as server:
        here.clerk.alarm = Alarm(server.url, (Secret("secret"),))
        await choose(here.world, ANN, analytics=False)
        await here.change(here.orders()[-1], acknowledged_at=here.world.clock.now() - 2 * DAY)
        configured = dict(here.orderers)
        here.orderers.clear()  # it is not configured any more
        await here.clerk.round()
        assert server.requests == []
        here.orderers |= configured  # and it is back
        await here.clerk.round()
        (said,) = server.requests
        assert b'"afterSeconds":86400' in said
    assert here.open()


async def test_that_a_destination_with_open_orders_is_gone_is_said_aloud() -> None:
    here = await place(BUSY)
    async with serving(answer(200)) as server:
        here.clerk.alarm = Alarm(server.url, (Secret("secret"),))
        here.clerk.removed("crm", 3, here.world.clock.now())
        await here.clerk.round()
        (said,) = server.requests
    assert b'"type":"destination.removed"' in said
    assert b'"open":3' in said
    text = here.meters.exposition().decode()
    assert 'consentry_orders_escalated_total{after="removed",destination="crm"} 1.0' in text


async def test_an_alarm_that_was_not_heard_is_said_again() -> None:
    here = await place(WRONG)
    await choose(here.world, ANN, analytics=False)
    async with serving(answer(500), answer(204)) as server:
        here.clerk.alarm = Alarm(server.url, (Secret("secret"),))
        here.clerk.failed(await here.settle())
        await here.clerk.round()
        here.clerk.hurry()
        await here.clerk.round()
        assert [b"order.failed" in one for one in server.requests] == [True, True]
        await here.clerk.round()
        assert len(server.requests) == 2


async def test_a_reading_raises_the_grade_and_is_on_the_ledger() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    read = await here.read(order)
    assert here.system.asked == ["job-1"]
    assert (read.grade, read.reads, read.drift) == (Grade.CONFIRMED, 1, False)
    assert read.read_at is not None
    assert here.outcomes()[-1]["readBack"] is True
    again = await here.read(read)
    assert len(here.outcomes()) == 2  # nothing new is known
    assert again.read_at is not None
    for _ in range(8):
        again = await here.read(again)
    assert again.read_at - here.world.clock.now() > 6 * DAY


async def test_a_job_that_is_not_done_is_asked_about_soon() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    here.system.reading = Reading(Found.PENDING)
    read = await here.read(order)
    assert read.read_at is not None
    assert read.read_at - here.world.clock.now() <= 3600 * SECOND
    assert read.reads == 0


async def test_drift_is_shown_and_owed_again_until_it_is_as_told() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    here.system.reading = DIFFERENT
    drifts = await here.read(order)
    assert drifts.drift
    assert [o.order_id for o in here.world.store.orders.drifting()] == [order.order_id]
    again = here.orders()[-1]
    assert (again.again_of, again.verb, again.seq) == (order.order_id, Verb.SUPPRESS, order.seq)
    again = await here.settle()
    here.system.reading = EQUAL
    await here.read(again)
    assert not here.world.store.orders.drifting()


async def test_who_is_erased_while_a_system_is_asked_is_not_named_to_it_again() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()

    class Meanwhile(System):
        async def read_back(self, instruction: Instruction, ref: str) -> Reading:
            await erase(here.world, (ANN,), SERVER)
            return DIFFERENT

    read = await read_back(here.world, Meanwhile(DONE), order)
    assert (read.again, read.order and read.order.read_at) == (None, None)


async def test_what_is_owed_again_and_younger_than_an_erasure_names_nobody() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    here.system.reading = DIFFERENT
    read = await read_back(here.world, here.system, order)
    assert read.again is not None
    await erase(here.world, (ANN,), SERVER)
    await here.world.store.commit(read.commit)
    here.system.told.clear()
    await here.settle()
    named = [
        told.person.user_ids for told in here.system.told if told.order_id == read.again.order_id
    ]
    assert named == []
    assert [told.verb for told in here.system.told] == [Verb.SUPPRESS, Verb.ERASE]


async def test_a_yes_is_not_said_again_to_a_system_that_holds_a_no() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    await here.settle()
    await choose(here.world, ANN, analytics=True)
    granted = await here.settle()
    assert (granted.verb, granted.state) == (Verb.GRANT, OrderState.TERMINAL)
    here.system.reading = DIFFERENT  # they may have left there, and nobody told us
    before = len(here.orders())
    for _ in range(MOST_AGAINS + 2):
        granted = await here.read(granted)
        assert granted.drift
    assert [o.order_id for o in here.world.store.orders.drifting()] == [granted.order_id]
    assert len(here.orders()) == before
    assert not here.open()
    assert here.outcomes()[-1]["drift"] is True
    here.system.reading = EQUAL
    await here.read(granted)
    assert not here.world.store.orders.drifting()


async def test_of_drift_that_comes_again_only_the_latest_is_shown() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    here.system.reading = DIFFERENT
    order = await here.settle()
    await here.read(order)
    again = await here.settle()
    await here.read(again)
    shown = [drifting.order_id for drifting in here.world.store.orders.drifting()]
    assert shown == [again.order_id]
    last = await here.settle()
    here.system.reading = EQUAL
    await here.read(last)
    assert not here.world.store.orders.drifting()


async def test_who_never_does_as_told_is_not_told_for_ever_at_once() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    here.system.reading = DIFFERENT
    order = await here.settle()
    for _ in range(MOST_AGAINS):
        await here.read(order)
        order = await here.settle()
    last = await here.read(order)
    assert not here.open()
    assert last.read_at is not None  # the next reading owes it again


async def test_a_later_choice_ends_the_readings_of_the_earlier_one() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    await choose(here.world, ANN, analytics=True)
    here.system.reading = DIFFERENT
    read = await here.read(order)
    assert (read.read_at, read.drift) == (None, False)
    assert here.system.asked == []


async def test_a_later_choice_about_a_part_of_the_person_ends_them_too() -> None:
    here = await place()
    await choose(here.world, BEN, ANN, analytics=False)
    order = await here.settle()
    assert order.named == (ANN, BEN)
    await choose(here.world, BEN, analytics=True)
    here.system.reading = DIFFERENT
    read = await here.read(order)
    assert (read.read_at, read.drift) == (None, False)


async def test_the_clerk_asks_when_it_is_time() -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    order = await here.settle()
    await here.clerk.round()
    assert here.system.asked == []
    await here.change(order, read_at=here.world.clock.now())
    await here.clerk.round()
    assert here.orders()[-1].grade is Grade.CONFIRMED


async def test_what_failed_for_good_is_terminal_and_keeps_whom_it_was_about() -> None:
    here = await place(WRONG)
    await suppress(here.world, (ANN,), SERVER, None, on=True)
    order = await here.settle()
    assert (order.state, order.grade) == (OrderState.TERMINAL, Grade.FAILED_FINAL)
    assert order.named == (ANN,)
    assert order.read_at is None


@pytest.mark.parametrize("verb", [Verb.SUPPRESS, Verb.GRANT, Verb.ERASE])
async def test_an_order_that_names_nobody_any_more_is_told_to_nobody(verb: Verb) -> None:
    here = await place()
    await choose(here.world, ANN, analytics=False)
    (told, *_) = here.world.store.orders.waiting("crm")
    nameless = msgspec.structs.replace(told, verb=verb, named=())
    assert not holds(here.world, nameless)
    failed = msgspec.structs.replace(nameless, state=OrderState.TERMINAL, grade=Grade.FAILED_FINAL)
    assert await try_again(here.world, [failed]) == []
