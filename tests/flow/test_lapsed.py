"""A right that ends without a word of its person: who is told of it, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consentry.clock import Clock
from consentry.core.moment import DAY, SECOND
from consentry.core.order import Verb
from consentry.core.policy import Category, Mapping, Policy, Settings
from consentry.core.record import Facts, Node, NodeKind
from consentry.destinations.instruction import Orders
from consentry.flow.configure import take_policy
from consentry.flow.lapsed import Lapse, Part, Walk
from consentry.flow.propagate import holds, instruction_of
from consentry.flow.record_choice import answer_of, record_choice, suppress
from consentry.flow.records import Origin, Said
from consentry.flow.subjects import Subjects
from consentry.flow.whom import TAKES_NONE
from consentry.flow.world import Tellable, World
from consentry.ledger.entry import RecordType
from consentry.ports import StoreError, StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.flow.stage import PUBLIC, SERVER
from tests.flow.test_owed import (
    ACCOUNT,
    DEVICE,
    HOOK,
    MAIL,
    MAPPINGS,
    PROVEN,
    TOLD,
    TOPICS,
    choose,
    one,
    said,
)
from tests.store.makers import notary

BOB = Node(NodeKind.ACCOUNT, "bob")
ONE_WAY = Orders({Verb.SUPPRESS: HOOK.verbs[Verb.SUPPRESS]}, HOOK.needs, "Nothing.")
CATEGORIES = (Category("analytics", max_age_us=10 * DAY), Category("advertising"))


class Place:
    """A world whose days pass as they are told to, and the walk through its ledger."""

    def __init__(self, at_once: int = 500) -> None:
        self.wall_us = 1_800_000_000 * SECOND
        clock = Clock(wall_ns=lambda: self.wall_us * 1000, elapsed_ns=lambda: self.wall_us * 1000)
        store = MemoryStore(notary(), clock=clock.now)
        self.world = World(store, Subjects(store), clock, Policy("shop"), 0)
        self.walk = Walk(self.world, at_once)
        self.policy = Policy("shop", Settings(), CATEGORIES, MAPPINGS, TOPICS)

    async def take(self, **changes: Any) -> None:
        await take_policy(self.world, replace(self.policy, **changes))

    async def after(self, days: float) -> list[Lapse]:
        """What is found when so many days have passed: a walk from end to end."""
        self.wall_us += int(days * DAY)
        self.walk = Walk(self.world)
        assert await self.walk.step() == Part()  # it begins a minute after the start
        self.wall_us += 61 * SECOND
        found = await self.walk.step()
        assert await self.walk.step() == Part()
        return list(found.lapses)


async def place(**changes: Any) -> Place:
    made = Place()
    await made.take(**changes)
    made.world.told = {**TOLD, "free": Tellable(HOOK)}
    return made


async def test_a_yes_that_grows_too_old_is_told_to_all_who_had_the_person_and_once() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, MAIL, analytics=True)
    assert await here.after(9) == []
    (lapse,) = await here.after(2)
    assert lapse.record.type is RecordType.EXPIRED
    assert said(lapse.orders, "hook") == ["gate", "suppress"]
    assert said(lapse.orders, "mailer") == ["gate", "suppress"]
    assert said(lapse.orders, "deaf") == ["gate"]
    assert said(lapse.orders, "free") == []
    assert one(lapse.orders, "deaf", Verb.GATE).why == TAKES_NONE
    told = one(lapse.orders, "mailer", Verb.SUPPRESS)
    assert (told.named, told.acknowledged_at) == ((MAIL,), lapse.record.received_at)
    assert holds(here.world, told)
    assert await here.after(1) == []


async def test_it_is_on_the_ledger_and_later_than_the_yes_that_it_ends() -> None:
    here = await place()
    grant = one(await choose(here.world, ACCOUNT, analytics=True), "hook", Verb.GRANT)
    (lapse,) = await here.after(11)
    told = here.world.store.orders.order(one(lapse.orders, "hook", Verb.SUPPRESS).order_id)
    assert told is not None
    assert told.seq > grant.seq
    instruction = instruction_of(here.world, told)
    assert (instruction.expired, instruction.consent["analytics"]) == (True, False)
    entry = here.world.store.record(lapse.record.record_id)
    assert entry is not None
    assert entry.record.evidence == {"recordId": grant.record_id}
    assert entry.record in [e.record for e in here.world.store.records_of([ACCOUNT])]


async def test_a_yes_said_anew_is_as_old_as_it_is_and_ends_by_itself() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    assert await here.after(9) == []
    await choose(here.world, ACCOUNT, analytics=True)
    assert await here.after(9) == []
    (lapse,) = await here.after(2)
    assert said(lapse.orders, "hook") == ["gate", "suppress"]


async def test_who_says_yes_after_it_ended_is_told_of_again_when_that_ends() -> None:
    here = await place()
    here.world.told["hook"] = Tellable(ONE_WAY)  # of a yes it is told nothing
    await choose(here.world, ACCOUNT, analytics=True)
    assert len(await here.after(11)) == 1
    assert said(await choose(here.world, ACCOUNT, analytics=True), "hook") == []
    assert await here.after(9) == []
    (lapse,) = await here.after(2)
    assert said(lapse.orders, "hook") == ["gate", "suppress"]


async def test_a_yes_that_comes_before_it_was_sent_keeps_it_from_being_sent() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    (lapse,) = await here.after(11)
    await choose(here.world, ACCOUNT, analytics=True)
    assert not holds(here.world, one(lapse.orders, "hook", Verb.SUPPRESS))


async def test_who_refused_or_is_suppressed_was_told_of_already() -> None:
    here = await place()
    for node in (ACCOUNT, BOB):
        await choose(here.world, node, analytics=True)
    await choose(here.world, ACCOUNT, analytics=False)
    await suppress(here.world, (BOB,), SERVER, None, on=True)
    assert await here.after(11) == []


async def test_who_is_suppressed_is_told_of_as_a_whole() -> None:
    here = await place(settings=Settings(max_age_us=15 * DAY))
    await choose(here.world, ACCOUNT, MAIL, analytics=True, topics={"news": {"email": True}})
    await suppress(here.world, (ACCOUNT,), SERVER, None, on=True)
    assert await here.after(16) == []


async def test_an_unproven_no_stays_our_own_gate() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    orders = await choose(here.world, ACCOUNT, origin=PUBLIC, analytics=False)
    assert said(orders, "hook") == ["gate"]
    assert await here.after(11) == []


async def test_what_never_counted_gave_nothing_that_could_end() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, origin=PUBLIC, analytics=True)
    now = here.world.clock.now()
    undated = Said((BOB,), answer_of({"analytics": True}, None), now, None)
    await record_choice(here.world, undated, SERVER, type_=RecordType.IMPORT)
    assert await here.after(11) == []


async def test_only_what_the_yes_itself_proved_is_named() -> None:
    here = await place()
    await choose(here.world, DEVICE, origin=PUBLIC, analytics=True)
    await choose(here.world, DEVICE, BOB, origin=Origin("website", "public"), analytics=True)
    found = await here.after(11)
    named = [o.named for lapse in found for o in lapse.orders if o.verb is Verb.SUPPRESS]
    assert named
    assert set(named) == {(DEVICE,)}


async def test_a_proven_account_is_named() -> None:
    here = await place()
    await choose(here.world, Node(NodeKind.ACCOUNT, "u1"), origin=PROVEN, analytics=True)
    (lapse,) = await here.after(11)
    assert one(lapse.orders, "hook", Verb.SUPPRESS).named == (ACCOUNT,)


NARROWER = (Mapping("hook", "webhook", ("analytics", "advertising")), *MAPPINGS[1:])


async def test_a_mapping_that_asks_for_more_counts_once_it_has_stood_for_a_day() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    await here.take(mappings=NARROWER)
    assert await here.after(0.5) == []
    (lapse,) = await here.after(0.6)
    assert {order.destination for order in lapse.orders} == {"hook"}
    assert said(lapse.orders, "hook") == ["gate", "suppress"]


async def test_a_slip_that_is_taken_back_within_a_day_is_told_to_nobody() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    await here.take(mappings=NARROWER)
    assert await here.after(0.9) == []
    await here.take()
    assert await here.after(5) == []


async def test_a_right_that_a_later_mapping_gave_ends_too() -> None:
    here = await place(mappings=NARROWER)
    await choose(here.world, ACCOUNT, analytics=True)
    await here.take()
    assert await here.after(5) == []
    (lapse,) = await here.after(6)
    assert said(lapse.orders, "hook") == ["gate", "suppress"]


async def test_a_topic_ends_by_itself() -> None:
    here = await place(settings=Settings(max_age_us=15 * DAY))
    await choose(here.world, ACCOUNT, MAIL, analytics=True, topics={"news": {"email": True}})
    (lapse,) = await here.after(11)
    assert all(order.whole for order in lapse.orders)
    (lapse,) = await here.after(5)
    told = [order for order in lapse.orders if order.destination == "mailer"]
    assert [(o.verb, o.topics) for o in told] == [
        (Verb.GATE, (("news", "email"),)),
        (Verb.SUPPRESS, (("news", "email"),)),
    ]
    assert await here.after(1) == []


async def test_in_shadow_mode_nobody_is_looked_for() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    here.world.shadow = True
    assert await here.after(11) == []
    here.world.shadow = False
    assert len(await here.after(0)) == 1


async def test_a_walk_goes_on_where_it_was_and_begins_anew_a_day_later() -> None:
    here = Place(at_once=2)
    await here.take()
    here.world.told = dict(TOLD)
    for n in range(5):
        await choose(here.world, Node(NodeKind.ACCOUNT, f"u{n}"), analytics=True)
    here.wall_us += 11 * DAY
    assert await here.walk.step() == Part()
    here.wall_us += 60 * SECOND
    found = [len((await here.walk.step()).lapses) for _ in range(3)]
    assert found == [1, 2, 2]  # the first record is that of the configuration
    await choose(here.world, ACCOUNT, analytics=True)
    steps = [await here.walk.step() for _ in range(10)]
    here.wall_us += 11 * DAY
    steps += [await here.walk.step() for _ in range(10)]
    assert sum(len(step.lapses) for step in steps) == 1


class Torn(MemoryStore):
    """Of one account nothing can be read."""

    torn: Node | None = None

    def facts_of(self, node: Node) -> Facts:
        if node == self.torn:
            raise StoreError("a page is damaged")
        return super().facts_of(node)


async def test_one_who_cannot_be_read_keeps_nobody_else_from_being_found() -> None:
    here = Place()
    store = here.world.store = Torn(notary(), clock=here.world.clock.now)
    here.world.subjects = Subjects(store)
    await here.take()
    here.world.told = dict(TOLD)
    for node in (ACCOUNT, BOB):
        await choose(here.world, node, analytics=True)
    here.wall_us += 11 * DAY
    store.torn = ACCOUNT
    await here.walk.step()
    here.wall_us += 60 * SECOND
    part = await here.walk.step()
    assert [lapse.record.subject for lapse in part.lapses] == [(BOB,)]
    assert part.unread == 1
    store.torn = None
    (lapse,) = await here.after(1)
    assert lapse.record.subject == (ACCOUNT,)


async def test_what_could_not_be_written_is_found_again() -> None:
    here = await place()
    await choose(here.world, ACCOUNT, analytics=True)
    here.wall_us += 11 * DAY
    await here.walk.step()
    here.wall_us += 60 * SECOND
    kept = here.world.store
    assert isinstance(kept, MemoryStore)
    kept.fail_next = StoreUnavailable("the disk is full")
    with pytest.raises(StoreUnavailable):
        await here.walk.step()
    here.wall_us += 2 * SECOND
    assert len((await here.walk.step()).lapses) == 1
