"""The laws of a whole workspace: what is recorded, stored, decided and sent, over any request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import wraps
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consentry.core.choice import Asker
from consentry.core.decision import Reason
from consentry.core.delivery import State
from consentry.core.event import Envelope
from consentry.core.policy import Mapping
from consentry.core.record import Node, NodeKind
from consentry.flow.accept import Incoming, accept
from consentry.flow.asked import decide_now
from consentry.flow.configure import take_policy
from consentry.flow.record_choice import suppress
from consentry.flow.records import Origin
from consentry.flow.world import World
from tests.core.clauses import holds
from tests.flow.stage import PUBLIC, SERVER, Kept, attempt, choose, send, track, update, world

ADS = Mapping("ads", "kept", ("advertising",))
WAREHOUSE = Mapping("warehouse", "kept", ("analytics",))
CRM = Mapping("crm", "kept", ("advertising",), share_consent=True)
DEVICE = Node(NodeKind.DEVICE, "d1")
ACCOUNT = Node(NodeKind.ACCOUNT, "u1")
OTHER = Node(NodeKind.ACCOUNT, "u2")
FEW = settings(max_examples=max(15, settings().max_examples // 3))
GRANTS = {"analytics": True, "advertising": True}
DENIES = {"analytics": True, "advertising": False}
HALF = {"analytics": False, "advertising": True}


def runs(law: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A law with a loop of its own for each example."""

    @wraps(law)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(law(*args, **kwargs))

    return run


def plain(n: int) -> dict[str, Any]:
    return track(f"m{n}", "d1")


def wire(n: int) -> dict[str, Any]:
    return track(f"m{n}", "d1", **GRANTS)


def refusal(n: int) -> dict[str, Any]:
    return update(f"c{n}", "d1", **DENIES)


def consent(n: int) -> dict[str, Any]:
    return update(f"c{n}", "d1", **GRANTS)


requests = st.lists(st.sampled_from((plain, wire, refusal, consent)), min_size=1, max_size=6)


async def allowed(made: World, message: dict[str, Any], origin: Origin = PUBLIC) -> bool:
    (decided,) = (await send(made, message, origin=origin)).decided
    return decided.decisions.allows("ads")


@holds("R10", "R1")
@FEW
@given(requests, st.booleans())
@runs
async def test_of_a_request_that_refuses_nothing_goes_that_needs_it_wherever_it_stands(
    kinds, granted_before
) -> None:
    made = await world(ADS)
    if granted_before:
        await choose(made, DEVICE, **GRANTS)
    messages = [kind(n) for n, kind in enumerate(kinds)]

    accepted = await send(made, *messages)

    for kind, one in zip(kinds, accepted.decided, strict=True):
        agreed = granted_before or consent in kinds or kind is not plain
        assert one.decisions.allows("ads") is (agreed and refusal not in kinds)


@holds("R10")
@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "answers", [a for n in (2, 3) for a in product((GRANTS, DENIES, HALF), repeat=n)]
)
async def test_of_a_repeated_choice_only_the_denials_count(answers, at_once) -> None:
    made = await world(ADS, WAREHOUSE)
    messages = [update("same", "d1", **answer) for answer in answers]
    if at_once:
        await send(made, *messages)
    else:
        for message in messages:
            await send(made, message)

    (after,) = (await send(made, plain(99))).decided
    for name, category in (("ads", "advertising"), ("warehouse", "analytics")):
        assert after.decisions.allows(name) is all(answer[category] for answer in answers)
    assert len(list(made.store.events_from(0, 100))) == 2


@holds("R4")
@FEW
@given(st.lists(st.sampled_from((GRANTS, DENIES)), min_size=1, max_size=5))
@runs
async def test_a_stamp_writes_no_record_and_says_nothing_of_the_next_event(answers) -> None:
    made = await world(ADS)
    before = len(list(made.store.ledger()))

    for n, answer in enumerate(answers):
        assert await allowed(made, track(f"s{n}", "d1", **answer)) == (answer is GRANTS)
        assert not await allowed(made, plain(n))

    assert len(list(made.store.ledger())) == before


@holds("R4")
async def test_a_stamp_lifts_no_refusal_on_record() -> None:
    made = await world(ADS)
    await choose(made, DEVICE, **DENIES)

    assert not await allowed(made, wire(1))


NAMING: dict[str, Callable[[], dict[str, Any]]] = {
    "the device": lambda: plain(1),
    "its account": lambda: {**plain(1), "userId": "u1"},
    "an address": lambda: {**plain(1), "properties": {"email": "Ann@shop.example"}},
}
NODES = {
    "the device": DEVICE,
    "its account": ACCOUNT,
    "an address": Node(NodeKind.EMAIL, "ann@shop.example"),
}


@holds("D1")
@pytest.mark.parametrize("listed", NODES)
@pytest.mark.parametrize("named", NAMING)
async def test_an_event_of_somebody_who_is_suppressed_is_not_stored(named, listed) -> None:
    made = await world(ADS)
    message = NAMING[named]() | {"userId": "u1"}
    identify = {"type": "identify", "anonymousId": "d1", "userId": "u1"}
    await send(made, {**identify, "traits": {"email": "ann@shop.example"}}, origin=SERVER)
    stored = len(list(made.store.events_from(0, 100)))

    await suppress(made, (NODES[listed],), SERVER, None, on=True)
    accepted = await send(made, message)

    assert [one.reason for one in accepted.decided[0].decisions] == [Reason.SUPPRESSED]
    assert len(list(made.store.events_from(0, 100))) == stored

    await suppress(made, (NODES[listed],), SERVER, None, on=False)
    await send(made, message)
    assert len(list(made.store.events_from(0, 100))) == stored + 1


@holds("D1", "R5")
async def test_after_unsuppressing_earlier_grants_count_as_never_collected() -> None:
    made = await world(ADS)
    await choose(made, DEVICE, **GRANTS)
    assert await allowed(made, plain(1))
    await suppress(made, (DEVICE,), SERVER, None, on=True)
    await suppress(made, (DEVICE,), SERVER, None, on=False)
    assert not await allowed(made, plain(2))
    await choose(made, DEVICE, **GRANTS)
    assert await allowed(made, plain(3))


@holds("T1", "T2")
@pytest.mark.parametrize("kind", [plain, wire])
@pytest.mark.parametrize("before", [(), (GRANTS,), (DENIES,), (GRANTS, DENIES), (DENIES, GRANTS)])
@pytest.mark.parametrize("after", [(), (GRANTS,), (DENIES,), (GRANTS, DENIES), (DENIES, GRANTS)])
async def test_an_attempt_is_made_if_the_event_was_allowed_then_and_is_now(
    before, after, kind
) -> None:
    made = await world(ADS)

    async def follow(answers: Sequence[dict[str, bool]]) -> None:
        for answer in answers:
            await choose(made, DEVICE, **answer)

    def holds_now(later: Sequence[dict[str, bool]]) -> bool:
        said = [*before, *later]
        if kind is plain:  # a grant covers nothing that was made before it
            return bool(before) and before[-1] is GRANTS and DENIES not in later
        return (not before or before[-1] is GRANTS) and (not said or said[-1] is GRANTS)

    await follow(before)
    await send(made, kind(1))
    for n in range(len(after) + 1):  # each attempt asks again
        kept = Kept()
        settled = await attempt(made, "ads", kept)
        goes = holds_now(after[:n])
        (stored,) = made.store.events_from(0, 1)
        now = decide_now(made, stored.event, "ads")
        assert len(kept.received) == goes
        assert now is not None
        assert now.allow is goes
        assert [one.state for one in settled] == [State.DELIVERED if goes else State.WITHHELD]
        await follow(after[n : n + 1])


@holds("T2")
@pytest.mark.parametrize(("then", "now"), [(a, b) for a in (0, 1) for b in (0, 1)])
async def test_a_destination_that_came_later_is_asked_of_then_and_now_too(then, now) -> None:
    made = await world(WAREHOUSE)
    await choose(made, DEVICE, advertising=bool(then))
    await send(made, plain(1))
    await choose(made, DEVICE, advertising=bool(now))
    await take_policy(made, replace(made.policy, mappings=(WAREHOUSE, ADS)))

    kept = Kept()
    await attempt(made, "ads", kept)

    assert len(kept.received) == (then and now)


@holds("D3")
async def test_a_choice_is_told_as_ids_time_and_what_holds_and_nothing_else() -> None:
    made = await world(CRM)
    message = update("c1", "d1", **DENIES) | {
        "integrations": {"crm": False},
        "properties": {"plan": "gold"},
        "traits": {"email": "ann@shop.example"},
    }
    message["context"]["page"] = {"url": "https://shop.example"}
    await send(made, message)

    kept = Kept()
    await attempt(made, "crm", kept)

    (told,) = kept.received
    shared = {"type", "event", "messageId", "anonymousId", "timestamp", "receivedAt", "context"}
    assert set(told.body) == shared
    assert told.body["context"] == {"consent": {"categoryPreferences": DENIES}}


@holds("D3")
async def test_a_choice_that_was_superseded_is_not_told_and_one_that_is_not_shared_needs_consent():
    made = await world(CRM, ADS)
    await send(made, update("c1", "d1", **DENIES))
    await send(made, update("c2", "d1", **GRANTS))

    shared, unshared = Kept(), Kept()
    await attempt(made, "crm", shared)
    await attempt(made, "ads", unshared)

    assert [one.message_id for one in shared.received] == ["c2"]
    assert [one.message_id for one in unshared.received] == ["c2"]


@holds("R3", "R7")
@pytest.mark.parametrize("origin", [PUBLIC, SERVER], ids=lambda origin: origin.trust)
async def test_only_a_server_source_merges_accounts(origin: Origin) -> None:
    made = await world(ADS)
    await choose(made, ACCOUNT, **GRANTS)
    await choose(made, OTHER, **DENIES)
    alias = {"type": "alias", "userId": "u1", "previousId": "u2", "messageId": "a1"}
    await send(made, alias, origin=origin)

    merged = bool(made.store.merges_of("u1"))
    event = {**plain(1), "anonymousId": "d9", "userId": "u1"}

    assert merged is (origin is SERVER)
    assert await allowed(made, event) is not merged


def proven(user: str) -> Origin:
    return Origin("website", "public", proven_user=user)


@holds("R3")
@pytest.mark.parametrize(
    ("origin", "device", "account"),
    [
        (PUBLIC, True, False),
        (SERVER, True, True),
        (proven("u1"), True, True),
        (proven("u2"), True, False),
        (proven("d1"), True, False),
    ],
)
async def test_who_may_grant_for_whom(origin: Origin, device: bool, account: bool) -> None:
    made = await world(ADS)
    await choose(made, DEVICE, ACCOUNT, origin=origin, **GRANTS)

    assert await allowed(made, plain(1)) is device
    assert await allowed(made, {**plain(2), "userId": "u1", "anonymousId": "d9"}) is account
    mail = Node(NodeKind.EMAIL, "u1")
    assert origin.asker.may_grant(mail) is (origin is SERVER)
    assert Asker(False, "u1").may_grant(ACCOUNT)


@holds("R1")
@pytest.mark.parametrize("origin", [PUBLIC, SERVER, proven("u2")])
@pytest.mark.parametrize("node", [DEVICE, ACCOUNT])
async def test_a_denial_counts_from_any_source_at_once(origin: Origin, node: Node) -> None:
    made = await world(ADS)
    await choose(made, DEVICE, ACCOUNT, **GRANTS)
    assert await allowed(made, {**plain(1), "userId": "u1"})

    await choose(made, node, origin=origin, advertising=False)

    assert not await allowed(made, {**plain(2), "userId": "u1"})


@holds("R11")
@FEW
@given(st.dictionaries(st.sampled_from(("analytics", "advertising", "else")), st.booleans()))
@runs
async def test_an_update_denies_what_it_leaves_out_and_a_call_changes_only_what_it_names(
    answers,
) -> None:
    made = await world(ADS)
    await choose(made, DEVICE, **GRANTS)
    called = await world(ADS)
    await choose(called, DEVICE, **GRANTS)

    message = update("c1", "d1") | {"context": {"consent": {"categoryPreferences": answers}}}
    await send(made, message)
    await choose(called, DEVICE, **answers)

    now = made.clock.now() + 1
    stated = made.subjects.standing((DEVICE,), made.policy, now)
    named = called.subjects.standing((DEVICE,), called.policy, now)
    for category in ("analytics", "advertising"):
        block = stated.of(category).block
        expected = {None: "missing", False: "denied", True: None}[answers.get(category)]
        assert (block and block.why) == expected
        assert (named.of(category).block is None) == answers.get(category, True)


@holds("R8")
async def test_a_signal_that_is_repeated_is_recorded_once_and_a_later_choice_outweighs_it() -> None:
    made = await world(ADS)
    await choose(made, DEVICE, **GRANTS)

    async def seen(present: bool, n: int) -> bool:
        return await seen_by(made, n, gpc=present)

    assert not await seen(True, 1)
    await choose(made, DEVICE, **GRANTS)
    assert await seen(True, 2)  # repetition is not newer
    assert await seen(False, 3)
    assert not await seen(True, 4)  # it was gone, and came back
    signals = [e for e in made.store.ledger() if e.record.type == "signal"]
    assert len(signals) == 3


async def seen_by(made: World, n: int, *, gpc: bool) -> bool:
    envelope = Envelope(made.clock.now())
    (one,) = (await accept(made, Incoming(PUBLIC, [plain(n)], envelope, gpc=gpc))).decided
    return one.decisions.allows("ads")
