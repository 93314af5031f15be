"""What is found of an event for one destination is used for the next: never longer than it holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.clock import Clock
from consentry.core.event import Envelope
from consentry.core.policy import Category, Mapping, Policy, Regime
from consentry.core.record import Node, NodeKind
from consentry.flow.accept import Incoming, accept
from consentry.flow.asked import Owed
from consentry.flow.configure import take_policy
from consentry.flow.deliver import message_of
from consentry.flow.lately import Lately
from consentry.flow.record_choice import suppress
from consentry.flow.world import World
from consentry.ports import Positioned, StoreUnavailable
from tests.flow.stage import CATEGORIES, PUBLIC, SERVER, Kept, attempt, choose, send, track, world
from tests.flow.test_races import Gated, begun

ALPHA = Mapping("alpha", "webhook", ("analytics",))
BETA = Mapping("beta", "webhook", ("analytics",))
GAMMA = Mapping("gamma", "webhook", ("advertising",))
D1 = Node(NodeKind.DEVICE, "d1")


async def owed(**answers: bool) -> tuple[World, Gated, Positioned]:
    """A world with one event that went through."""
    store = Gated()
    made = await world(ALPHA, BETA, GAMMA, store=store)
    await send(made, track("m1", "d1", **answers))
    return made, store, store.events_from(0, 10)[0]


async def test_a_denial_counts_at_once_for_an_event_that_was_asked_about_before() -> None:
    made, store, one = await owed(analytics=True)
    alpha, beta = Owed(made, one, "alpha"), Owed(made, one, "beta")
    assert alpha.allowed()
    assert beta.allowed()
    assert alpha.asked is beta.asked
    store.gated = True
    denying = await begun(choose(made, D1, analytics=False))
    assert not alpha.allowed()  # it is not durable yet
    assert not beta.allowed()
    assert not Owed(made, one, "alpha").allowed()
    store.passes()
    await denying
    assert not alpha.allowed()
    assert not beta.allowed()
    assert Owed(made, one, "beta").consent() == {"analytics": False, "advertising": False}


async def test_a_denial_that_could_not_be_written_leaves_nothing_behind() -> None:
    made, store, one = await owed(analytics=True)
    alpha = Owed(made, one, "alpha")
    assert alpha.allowed()
    store.gated = True
    denying = await begun(choose(made, D1, analytics=False))
    assert not alpha.allowed()
    store.fails()
    with pytest.raises(StoreUnavailable):
        await denying
    assert alpha.allowed()


async def test_what_one_destination_was_told_is_not_told_to_the_next_after_a_withdrawal() -> None:
    made, _, one = await owed(analytics=True, advertising=True)
    first, second = message_of(Owed(made, one, "alpha")), message_of(Owed(made, one, "beta"))
    assert first is second
    await choose(made, D1, advertising=False)
    third = message_of(Owed(made, one, "beta"))
    assert first.consent["advertising"]
    assert not third.consent["advertising"]
    told = third.body["context"]["consent"]["categoryPreferences"]
    assert told == {"analytics": True, "advertising": False}


async def test_a_withdrawal_during_one_send_stops_the_send_to_the_next() -> None:
    made, _, one = await owed(analytics=True)

    async def withdraw() -> Any:
        return await choose(made, D1, analytics=False)

    alpha, beta = Kept(withdraw), Kept()
    assert Owed(made, one, "beta").allowed()
    await attempt(made, "alpha", alpha)
    await attempt(made, "beta", beta)
    assert alpha.received == beta.received == []


async def test_another_policy_is_another_question() -> None:
    made, _, one = await owed(analytics=True)
    alpha = Owed(made, one, "alpha")
    assert alpha.allowed()
    stricter = Mapping("alpha", "webhook", ("analytics", "advertising"))
    await take_policy(made, Policy("shop", categories=CATEGORIES, mappings=(stricter, BETA)))
    assert not alpha.allowed()
    assert Owed(made, one, "beta").allowed()
    assert not Owed(made, one, "gamma").allowed()  # it is no longer there


async def test_another_default_of_its_source_is_another_question() -> None:
    store = Gated()
    made = await world(ALPHA, store=store)
    made.regimes = {PUBLIC.source: Regime.OPT_OUT}
    await send(made, track("m1", "d1"))
    alpha = Owed(made, store.events_from(0, 1)[0], "alpha")
    assert alpha.allowed()
    made.regimes = {PUBLIC.source: Regime.OPT_IN}
    assert not alpha.allowed()


async def test_somebody_suppressed_is_told_to_nobody() -> None:
    made, _, one = await owed(analytics=True)
    alpha = Owed(made, one, "alpha")
    assert alpha.allowed()
    await suppress(made, (D1,), SERVER, None, on=True)
    assert not alpha.allowed()


async def test_time_alone_ends_what_was_remembered() -> None:
    """A grant that ages: the standing says until when it holds."""
    store = Gated()
    made = await world(ALPHA, store=store)
    aging = (Category("analytics", max_age_us=60_000_000), Category("advertising"))
    await take_policy(made, Policy("shop", categories=aging, mappings=(ALPHA,)))
    await choose(made, D1, analytics=True)
    await accept(made, Incoming(PUBLIC, [track("m1", "d1")], Envelope(made.clock.now())))
    alpha = Owed(made, store.events_from(0, 1)[0], "alpha")
    assert alpha.allowed()
    made.clock = Clock(made.clock.now() + 120_000_000)  # two minutes later
    assert not alpha.allowed()


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 400)), max_size=60))
def test_what_is_remembered_is_the_latest_and_never_more_than_its_room(puts: Any) -> None:
    lately: Lately[int] = Lately(1000)
    latest: dict[int, tuple[int, int]] = {}
    for n, (position, size) in enumerate(puts):
        lately.put(position, n, size)
        latest[position] = n, size
        assert lately.get(position) in (n, None)
        known = [p for p in latest if lately.get(p) is not None]
        assert all(lately.get(p) == latest[p][0] for p in known)
        assert sum(latest[p][1] for p in known) <= 1000
