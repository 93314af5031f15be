"""Forgetting, as a flow: on both stores, whatever somebody did before, and nobody else loses anything."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.clock import Clock
from consentry.core.order import OrderState
from consentry.core.policy import Mapping, Policy
from consentry.core.record import Node, NodeKind
from consentry.flow.configure import take_policy
from consentry.flow.deliver import deliver
from consentry.flow.erase import NobodyAlone, erase
from consentry.flow.person import whole_person
from consentry.flow.shred import Shredder
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ledger import verify as verifying
from consentry.orders import Tried
from consentry.ports import Commit, Store
from consentry.store.memory import MemoryStore
from consentry.store.sqlite import SqliteStore
from tests.flow.stage import CATEGORIES, SERVER, Kept, choose, send, track, update
from tests.flow.test_erase import TOLD, identify
from tests.store.makers import KEY, notary

USERS = ("user-of-ann", "user-of-bob", "user-of-cid")
DEVICES = ("device-one", "device-two", "device-three")
MAILS = ("one@shop.example", "two@shop.example")
MAPPINGS = tuple(Mapping(name, "webhook", ("analytics",)) for name in TOLD)

users, devices = st.sampled_from(USERS), st.sampled_from(DEVICES)
answers = st.booleans()
acts = st.one_of(
    st.tuples(st.just("identify"), users, devices, st.none() | st.sampled_from(MAILS)),
    st.tuples(st.just("choose"), users | devices, answers),
    st.tuples(st.just("track"), devices, answers),
    st.tuples(st.just("update"), devices, answers),
    st.tuples(st.just("alias"), users, users),
)


def node_of(name: str) -> Node:
    return Node(NodeKind.ACCOUNT if name in USERS else NodeKind.DEVICE, name)


async def world_on(store: Store, clock: Clock) -> World:
    made = World(store, Subjects(store), clock, Policy("shop"), 0)
    await take_policy(made, Policy("shop", categories=CATEGORIES, mappings=MAPPINGS))
    made.told = TOLD
    return made


async def act(made: World, n: int, what: tuple[Any, ...]) -> None:
    kind, *more = what
    if kind == "identify":
        user, device, address = more
        traits = {} if address is None else {"email": address}
        await send(made, {**identify(user, device, **traits), "messageId": f"m{n}"}, origin=SERVER)
    elif kind == "choose":
        await choose(made, node_of(more[0]), analytics=more[1])
    elif kind == "alias":
        alias = {"type": "alias", "messageId": f"m{n}", "previousId": more[0], "userId": more[1]}
        await send(made, alias, origin=SERVER)
    else:
        message = (track if kind == "track" else update)(f"m{n}", more[0], analytics=more[1])
        await send(made, message, origin=SERVER)


async def tell_all(made: World) -> None:
    """Every order that waits has ended, as the lanes would do it."""
    for name in TOLD:
        for order in made.store.orders.waiting(name):
            ended = order.__class__(
                order_id=order.order_id,
                record_id=order.record_id,
                destination=name,
                verb=order.verb,
                acknowledged_at=order.acknowledged_at,
                state=OrderState.TERMINAL,
                erasure=order.erasure,
                nodes=() if order.erases else order.nodes,
                named=() if order.erases else order.named,
                subject=() if order.erases else order.subject,
            )
            await made.store.commit(Commit(tried=(Tried(ended),)))


async def forget_all(made: World) -> None:
    shredder = Shredder(made, pause=0)
    for _ in range(100):
        await shredder.step()
        if not made.store.erasures.unfinished():
            return
    raise AssertionError("the jobs did not end")


def seen_of(made: World, nodes: frozenset[Node]) -> list[object]:
    """What others are known by, and what is decided for each of them alone."""
    found: list[object] = []
    for node in sorted(nodes):
        store = made.store
        found.append((node, sorted(f.record_id for f in store.facts_of(node))))
        alone = made.subjects.alone((node,), made.policy, made.clock.now())
        found.append({c: (f.grant, f.block) for c, f in alone.found.items()})
    return found


async def check(store: Store, clock: Clock, before: list[Any], who: str) -> None:
    made = await world_on(store, clock)
    for n, what in enumerate(before):
        await act(made, n, what)
    everybody = frozenset(map(node_of, (*USERS, *DEVICES)))
    everybody |= {Node(NodeKind.EMAIL, address) for address in MAILS}
    try:
        body = (await erase(made, (node_of(who),), SERVER)).body
    except NobodyAlone:
        return
    entry = store.record(body["erasureId"])
    assert entry is not None
    gone = frozenset(node for node, _ in entry.record.facts)
    others = everybody - gone
    was = seen_of(made, others)
    kept = [one for one in store.events_from(0, 1000) if gone.isdisjoint(one.event.nodes)]
    heads = [e.leaf for e in store.ledger()]
    await tell_all(made)
    await forget_all(made)
    # Nothing that is read names them, but for events of somebody else's account.
    for entry in store.ledger():
        said = repr(entry.record)
        assert not any(f"'{node.value}'" in said for node in gone)
    for order in store.orders.find(limit=1000):
        assert gone.isdisjoint((*order.nodes, *order.named, *order.subject))
    for one in store.events_from(0, 1000):
        accounts = {node for node in one.event.nodes if node.kind is NodeKind.ACCOUNT}
        assert gone.isdisjoint(one.event.nodes) or not accounts <= gone
    # What others have is as it was.
    assert seen_of(made, others) == was
    assert [o for o in store.events_from(0, 1000) if o in kept] == kept
    # They are suppressed for good, and nobody gets what is left of their events.
    for node in gone:
        assert made.subjects.standing((node,), made.policy, made.clock.now()).suppressed
    erased = [one for one in store.events_from(0, 1000) if one.event.erased]
    receiver = Kept()
    for name in TOLD:
        await deliver(made, receiver, name, erased)
    assert receiver.received == []
    assert whole_person(made, (node_of(who),)).nodes == {node_of(who)}
    # The ledger still proves itself.
    assert [e.leaf for e in store.ledger()][: len(heads)] == heads
    found = verifying.verify(
        [verifying.Entry(e.seq, e.leaf, e.record) for e in store.ledger()],
        [store.checkpoint() or ""],
        [KEY.verify_key],
    )
    assert found.sound, found.faults
    assert found.marks > 0


@settings(max_examples=25)
@given(st.lists(acts, max_size=14), st.sampled_from((*USERS, *DEVICES)))
def test_whoever_is_erased_is_gone_and_nobody_else_loses_anything(
    before: list[Any], who: str
) -> None:
    async def both() -> None:
        clock = Clock()
        await check(MemoryStore(notary(), clock=clock.now), clock, before, who)
        with tempfile.TemporaryDirectory() as folder:
            clock = Clock()
            path = str(Path(folder) / "store.db")
            store = SqliteStore.open(path, notary(), clock=clock.now)
            try:
                await check(store, clock, before, who)
            finally:
                store.close()

    asyncio.run(both())


async def test_a_clock_that_was_set_back_keeps_nobody_from_being_forgotten() -> None:
    """It stands until the wall has caught up, which may take a year; the job waits two seconds."""
    elapsed_ns = 0
    clock = Clock(10**15, wall_ns=lambda: 0, elapsed_ns=lambda: elapsed_ns)
    store = MemoryStore(notary(), clock=clock.now)
    made = await world_on(store, clock)
    await choose(made, node_of(USERS[0]), analytics=True)
    await erase(made, (node_of(USERS[0]),), SERVER)
    shredder = Shredder(made)
    assert await shredder.step() is None
    elapsed_ns = 3 * 10**9
    assert await shredder.step() is not None
