"""Requests that overlap on their way to the disk. What is tested here, tests/simulation found."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import pytest

from consentry.clock import Clock
from consentry.core.event import Envelope
from consentry.core.moment import SECOND, format_exact
from consentry.core.policy import Mapping, Policy
from consentry.core.record import Fact, FactKind, Facts, Node, NodeKind
from consentry.flow.accept import Accepted, Incoming, accept
from consentry.flow.asked import allowed_at_acceptance, decide_then
from consentry.flow.configure import take_policy
from consentry.flow.explain import explain_stored, explain_subject
from consentry.flow.record_choice import suppress
from consentry.flow.world import World
from consentry.ports import Commit, Committed, StoreError, StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.flow.stage import CATEGORIES, PUBLIC, SERVER, choose, send, track, update, world
from tests.simulation.loop import VirtualLoop
from tests.store.makers import notary, record

ALPHA = Mapping("alpha", "webhook", ("analytics",))
D1, U1 = Node(NodeKind.DEVICE, "d1"), Node(NodeKind.ACCOUNT, "u1")


class Gated(MemoryStore):
    """While ``gated``, writes wait until they are told to pass or to fail."""

    gated = False
    unreadable = False

    def __init__(self) -> None:
        super().__init__(notary(), clock=Clock().now)
        self.waiting: list[asyncio.Future[None]] = []

    async def commit(self, commit: Commit) -> Committed:
        if self.gated:
            gate = asyncio.get_running_loop().create_future()
            self.waiting.append(gate)
            await gate
        return await super().commit(commit)

    def knows(self, node: Node) -> bool:
        if self.unreadable:
            raise StoreError("disk I/O error")
        return super().knows(node)

    def facts_of(self, node: Node) -> Facts:
        if self.unreadable:
            raise StoreError("disk I/O error")
        return super().facts_of(node)

    def passes(self) -> None:
        """The write that has waited longest."""
        self.waiting.pop(0).set_result(None)

    def fails(self) -> None:
        self.waiting.pop(0).set_exception(StoreUnavailable("the disk is full"))


async def a_world() -> tuple[World, Gated]:
    store = Gated()
    return await world(ALPHA, store=store), store


async def begun(work: Awaitable[Any]) -> asyncio.Task[Any]:
    """Started, and come as far as it can."""
    task = asyncio.ensure_future(work)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def request(made: World, message: dict[str, Any], gpc: bool | None = None) -> Awaitable[Accepted]:
    return accept(made, Incoming(PUBLIC, [message], Envelope(made.clock.now()), gpc=gpc))


def identify(message_id: str, device: str, account: str) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": message_id,
        "anonymousId": device,
        "userId": account,
    }


def allowed(made: World, *nodes: Node) -> bool:
    return explain_subject(made, nodes, ["alpha"])[0].allow


async def test_a_refusal_that_could_not_be_taken_up_leaves_nothing_behind() -> None:
    made, store = await a_world()
    await choose(made, D1, analytics=True)
    now = made.clock.now()
    fact = Fact(FactKind.CHOICE, "r1", now, now, ("advertising",), ("analytics",))
    refusal = record("r1", D1, received_at=now, facts=((D1, fact),))
    store.unreadable = True
    with pytest.raises(StoreError), made.subjects.in_flight([refusal]):
        pytest.fail("nothing could be read")
    store.unreadable = False
    assert allowed(made, D1)


async def test_a_signal_is_recorded_though_the_request_before_it_fails() -> None:
    made, store = await a_world()
    await choose(made, D1, analytics=True)
    store.gated = True
    first = await begun(request(made, track("m1", "d1"), gpc=True))
    second = await begun(request(made, track("m2", "d1"), gpc=True))
    store.fails()
    store.passes()
    with pytest.raises(StoreUnavailable):
        await first
    await second
    assert not allowed(made, D1)


async def test_a_link_is_recorded_though_the_request_before_it_fails() -> None:
    made, store = await a_world()
    await choose(made, D1, analytics=True)
    await choose(made, U1, analytics=False)
    store.gated = True
    first = await begun(request(made, identify("m1", "d1", "u1")))
    second = await begun(request(made, identify("m2", "d1", "u1")))
    store.fails()
    store.passes()
    with pytest.raises(StoreUnavailable):
        await first
    await second
    assert not allowed(made, D1)


async def test_a_grant_that_is_repeated_while_it_is_written_lifts_nothing() -> None:
    made, store = await a_world()
    store.gated = True
    first = await begun(request(made, update("m1", "d1", analytics=True)))
    store.gated = False
    await choose(made, D1, analytics=False)
    store.gated = True
    again = await begun(request(made, update("m1", "d1", analytics=True)))
    store.gated = False
    store.passes()
    await begun(first)
    while store.waiting:
        store.passes()
    await first
    await again
    assert not allowed(made, D1)


async def test_a_grant_that_is_repeated_after_a_suppression_ended_is_as_void_as_the_first() -> None:
    """Its end takes what was said before it, and the copy is the same act."""
    made, store = await a_world()
    await suppress(made, (D1,), SERVER, None, on=True)
    store.gated = True
    first = await begun(request(made, update("m1", "d1", analytics=True)))
    lifted = await begun(suppress(made, (D1,), SERVER, None, on=False))
    again = await begun(request(made, update("m1", "d1", analytics=True)))
    store.gated = False
    while store.waiting:
        store.passes()
    await asyncio.gather(first, lifted, again)
    assert not allowed(made, D1)
    await send(made, update("m2", "d1", analytics=True))
    assert allowed(made, D1), "a yes of its own"


async def test_a_time_that_could_not_be_true_at_first_is_none_when_repeated() -> None:
    """A yes that claims to be of a minute later, whose copy comes once that minute is over."""
    made, store = await a_world()
    await choose(made, D1, analytics=False)
    now = made.clock.now()
    store.gated = True
    later = {**update("m1", "d1", analytics=True), "timestamp": format_exact(now + 60 * SECOND)}
    first = await begun(request(made, later))
    made.clock = Clock(now + 3600 * SECOND)
    again = await begun(request(made, later))
    store.gated = False
    store.passes()
    await first
    await again
    assert not allowed(made, D1)


async def test_who_waited_is_not_decided_with_what_came_later() -> None:
    made, store = await a_world()
    await choose(made, U1, analytics=False)
    store.gated = True
    grant = await begun(choose(made, D1, analytics=True))
    event = await begun(request(made, track("m1", "d1")))
    link = await begun(request(made, identify("m2", "d1", "u1")))
    store.gated = False
    store.passes()
    await grant
    accepted = await event
    await link

    assert accepted.decided[0].decisions[0].allow
    position = store.position_of(PUBLIC.source, "m1")
    assert position is not None
    stored = store.event_at(position)
    assert stored is not None
    then = decide_then(made, stored, "alpha")
    assert then is not None
    assert then.allow


async def test_what_a_lost_refusal_withheld_is_not_explained_as_consented() -> None:
    made, store = await a_world()
    await choose(made, D1, analytics=True)
    store.gated = True
    refusal = await begun(choose(made, D1, analytics=False))
    event = await begun(request(made, track("m1", "d1")))
    store.fails()
    store.passes()
    with pytest.raises(StoreUnavailable):
        await refusal
    await event
    stored = store.event_at(0)
    assert stored is not None
    explained = explain_stored(made, 0, stored)["deliveries"][0]
    assert (explained["state"], explained["decision"]["decision"]) == ("withheld", "withhold")


async def test_a_later_sign_in_does_not_change_the_explanation() -> None:
    made, store = await a_world()
    await choose(made, D1, analytics=False)
    await choose(made, U1, analytics=True, origin=SERVER)
    await send(made, {**track("m1", "d1"), "timestamp": "2099-01-01T00:00:00Z"})
    await send(made, track("m2", "d1", analytics=True))
    await send(made, identify("m3", "d1", "u1"))
    for position in range(2):
        stored = store.event_at(position)
        assert stored is not None
        explained = explain_stored(made, position, stored)["deliveries"][0]
        assert explained["state"] == "withheld"
        assert explained["decision"]["decision"] == "withhold"


def test_an_event_is_stored_under_the_policy_that_decided_it() -> None:
    loop = VirtualLoop(random.Random(0))

    async def overlap() -> bool:
        made = await world(ALPHA, Mapping("log", "webhook", exempt="our own"))
        loop.busy_s = 1.0  # every event takes so long that others have their turn
        messages = [track(f"m{n}", f"d{n}") for n in range(20)]
        accepting = asyncio.ensure_future(send(made, *messages))
        await asyncio.sleep(0)
        turned = Policy("shop", made.policy.settings, CATEGORIES, made.policy.mappings[::-1])
        await take_policy(made, turned)
        await accepting
        events = made.store.events_from(0, 100)
        return any(allowed_at_acceptance(made, one.event, "alpha") for one in events)

    try:
        assert not loop.run_until_complete(overlap())
    finally:
        loop.close()


async def test_a_merge_that_joins_known_accounts_counts_in_its_own_request() -> None:
    made = await world(ALPHA)
    await send(made, alias("m1", "u0", "a0"), origin=SERVER)
    await suppress(made, (Node(NodeKind.ACCOUNT, "u0"),), SERVER, None, on=True)

    accepted = await send(made, alias("m2", "u1", "a0"), origin=SERVER)

    assert accepted.decided[0].suppressed


def alias(message_id: str, user_id: str, previous_id: str) -> dict[str, Any]:
    """Two accounts become one."""
    return {
        "type": "alias",
        "messageId": message_id,
        "userId": user_id,
        "previousId": previous_id,
    }
