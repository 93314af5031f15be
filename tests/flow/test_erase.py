"""An erasure: whom it takes, whom it leaves, what it owes, and that nobody comes back by the way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import msgspec
import pytest

from consentry.clock import Clock
from consentry.core.decision import Reason
from consentry.core.delivery import Grade, State
from consentry.core.event import Envelope
from consentry.core.order import OrderState, Verb
from consentry.core.policy import Category, Mapping, Policy, Settings
from consentry.core.record import Node, NodeKind
from consentry.destinations.instruction import Found, Heard, Orders, Reading
from consentry.flow.accept import Incoming, Written, accept
from consentry.flow.asked import Owed, decide_now
from consentry.flow.configure import take_policy
from consentry.flow.deliver import deliver
from consentry.flow.erase import NobodyAlone, erase, told_of
from consentry.flow.heard import take
from consentry.flow.note import note
from consentry.flow.once import KeyReused, Once
from consentry.flow.order_lane import OrderLane
from consentry.flow.person import is_erased
from consentry.flow.propagate import give_up, holds, instruction_of, try_again
from consentry.flow.read_back import read_back
from consentry.flow.record_choice import suppress
from consentry.flow.records import Origin
from consentry.flow.shred import Shredder
from consentry.flow.world import Tellable, World
from consentry.ledger.entry import RecordType
from consentry.orders import Order, Tried
from consentry.ports import Commit
from tests.flow.stage import PUBLIC, SERVER, Kept, choose, send, track, update, world

DEVICE, SHARED = Node(NodeKind.DEVICE, "d1"), Node(NodeKind.DEVICE, "family tablet")
ADA, BOB, OLD = (Node(NodeKind.ACCOUNT, user) for user in ("ada", "bob", "ada-before"))
MAIL, OTHER = Node(NodeKind.EMAIL, "ada@shop.example"), Node(NodeKind.EMAIL, "other@shop.example")
IDENTIFIERS = frozenset({"anonymous_ids", "user_ids", "emails", "phones"})


def taking(*verbs: Verb) -> Tellable:
    return Tellable(Orders(dict.fromkeys(verbs, Grade.CONFIRMED), IDENTIFIERS, "It is slow."))


TOLD = {
    "both": taking(Verb.SUPPRESS, Verb.ERASE, Verb.GRANT),
    "eraser": taking(Verb.ERASE),
    "suppresser": taking(Verb.SUPPRESS, Verb.GRANT),
    "deaf": Tellable(),
}
MAPPINGS = tuple(Mapping(name, "webhook", ("analytics",)) for name in TOLD)


async def shop(**settings: Any) -> World:
    made = await world(*MAPPINGS)
    policy = Policy("shop", Settings(**settings), (Category("analytics"),), MAPPINGS)
    await take_policy(made, policy)
    made.told = TOLD
    return made


def identify(user: str, device: str | None = None, **traits: str) -> dict[str, Any]:
    made = {"type": "identify", "messageId": f"id-{user}-{device}-{traits}", "userId": user}
    return {**made, **({"anonymousId": device} if device else {}), "traits": traits}


async def ada(made: World) -> None:
    """Ada with a device of her own, an address, an account she had before, and a shared tablet."""
    await send(made, identify("ada", "d1", email=MAIL.value), origin=SERVER)
    await send(made, identify("ada", SHARED.value), origin=SERVER)
    await send(made, identify("bob", SHARED.value), origin=SERVER)
    before = {"type": "alias", "messageId": "a1", "previousId": "ada-before", "userId": "ada"}
    await send(made, before, origin=SERVER)


def standing_of(made: World, *nodes: Node) -> Any:
    return made.subjects.standing(nodes, made.policy, made.clock.now())


def by(orders: Iterable[Order]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for order in orders:
        found.setdefault(order.destination, []).append(order.verb.value)
    return found


# -- whom ---------------------------------------------------------------------------------------
WHOM = {
    "by account": ((ADA,), {ADA, OLD, DEVICE, MAIL, Node(NodeKind.DEVICE, "ada-before")}, 1),
    "by the account she had": (
        (OLD,),
        {ADA, OLD, DEVICE, MAIL, Node(NodeKind.DEVICE, "ada-before")},
        1,
    ),
    "by account and the shared device": (
        (SHARED, ADA),
        {ADA, OLD, DEVICE, MAIL, Node(NodeKind.DEVICE, "ada-before")},
        1,
    ),
    "the other one": ((BOB,), {BOB}, 1),
    "somebody never seen": ((OTHER,), {OTHER}, 0),
}


@pytest.mark.parametrize("case", WHOM)
async def test_who_is_erased_and_who_is_not(case: str) -> None:
    made = await shop()
    await ada(made)
    named, theirs, shared = WHOM[case]
    body = (await erase(made, named, SERVER)).body
    entry = made.store.record(body["erasureId"])
    assert entry is not None
    assert entry.record.type is RecordType.ERASE
    assert {node for node, _ in entry.record.facts} == theirs
    assert body["shared"] == shared
    everybody = {ADA, OLD, BOB, DEVICE, SHARED, MAIL, OTHER}
    gone = {node for node in everybody if is_erased(made, (node,))}
    assert gone == theirs & everybody


@pytest.mark.parametrize("named", [(SHARED,), (DEVICE,), (MAIL,)])
async def test_who_is_linked_to_an_account_that_is_not_named_is_not_erased(
    named: tuple[Node, ...],
) -> None:
    made = await shop()
    await ada(made)
    size = len(list(made.store.ledger()))
    with pytest.raises(NobodyAlone):
        await erase(made, named, SERVER)
    assert len(list(made.store.ledger())) == size


async def test_an_address_that_was_given_before_signing_in_goes_with_the_device() -> None:
    made = await shop()
    anonymous = {"type": "identify", "messageId": "m", "anonymousId": "d1"}
    await send(made, {**anonymous, "traits": {"email": MAIL.value}})
    await send(made, identify("ada", "d1"))
    await erase(made, (ADA,), SERVER)
    assert is_erased(made, (MAIL,))


# -- what it owes ---------------------------------------------------------------------------------
async def test_each_destination_is_asked_for_what_it_can() -> None:
    made = await shop()
    await ada(made)
    body = (await erase(made, (ADA,), SERVER)).body
    orders = made.store.orders.of_record(body["erasureId"])
    assert [order.order_id for order in orders] == body["orders"]
    assert by(orders) == {
        "both": ["gate", "suppress", "erase"],
        "eraser": ["gate", "erase"],
        "suppresser": ["gate", "suppress"],
        "deaf": ["gate"],
    }
    told = {one.destination: one for one in told_of(made, body["erasureId"])}
    assert {name: one.erases for name, one in told.items()} == {
        "both": True,
        "eraser": True,
        "suppresser": False,
        "deaf": False,
    }
    assert "cannot erase" in str(told["suppresser"].cannot)
    assert "nothing is erased there" in str(told["deaf"].cannot)
    assert told["both"].cannot == "It is slow."


async def test_others_are_told_only_of_whom_a_trusted_door_knows() -> None:
    """Anybody can link somebody's address to an account of their own with a public key."""
    made = await shop()
    await send(made, identify("ada", "d1"), origin=SERVER)
    await send(made, identify("ada", email=OTHER.value), origin=PUBLIC)
    body = (await erase(made, (ADA,), SERVER)).body
    orders = made.store.orders.of_record(body["erasureId"])
    named = {node for order in orders if order.verb is not Verb.GATE for node in order.named}
    assert named == {ADA, DEVICE}
    assert is_erased(made, (OTHER,)), "ours goes: a no needs no proof"


@pytest.mark.parametrize("name", ["both", "suppresser"])
@pytest.mark.parametrize("shared", [False, True])
async def test_what_waits_gives_way_to_the_erasure(name: str, *, shared: bool) -> None:
    """But for what was to be told of a device that stays: the erasure does not name that one."""
    made = await shop()
    await send(made, identify("ada", "d1"), origin=SERVER)
    if shared:
        await ada(made)
    await choose(made, ADA, analytics=True)
    withdrawn = (await choose(made, ADA, analytics=False))["recordId"]
    body = (await erase(made, (ADA,), SERVER)).body
    lane = OrderLane(1)
    lane.admit(made.store.orders.waiting(name))
    left, batch = [], ()
    while not batch:
        turn = lane.take(made.clock.now(), lambda order: holds(made, order))
        left, batch = [*left, *turn.left], turn.batch
        for one in turn.left:
            lane.settle(one.order.number)
    (first,) = batch
    assert first.verb is Verb.SUPPRESS
    assert first.record_id == (withdrawn if shared else body["erasureId"])
    if not shared:
        mine = {order.order_id for order in made.store.orders.of_record(body["erasureId"])}
        assert len(left) == 2
        assert all(one.by in mine for one in left)


# -- once -----------------------------------------------------------------------------------------
async def test_the_same_key_erases_once() -> None:
    made = await shop()
    once = Once("server/backend/k", b"digest")
    first = await erase(made, (ADA,), SERVER, once=once)
    again = await erase(made, (ADA,), SERVER, once=once)
    assert (again.body, again.record) == (first.body, None)
    with pytest.raises(KeyReused):
        await erase(made, (BOB,), SERVER, once=Once(once.key, b"another"))
    assert sum(e.record.type is RecordType.ERASE for e in made.store.ledger()) == 1


# -- nobody comes back ------------------------------------------------------------------------------
async def _event(made: World) -> Any:
    return await send(made, track("e1", "d1", analytics=True))


async def _preferences(made: World) -> Any:
    return await send(made, update("u1", "d1", analytics=True))


async def _sign_in(made: World) -> Any:
    return await send(made, identify("ada", "new device", email="new@shop.example"), origin=SERVER)


async def _report(made: World) -> Any:
    return await take(made, "both", [Heard(MAIL, True, "unsubscribed", "ev1")])


async def _signal(made: World) -> Any:
    return await note(made, PUBLIC, None, None, None, None, (DEVICE,), True)


async def _alias(made: World) -> Any:
    """Of somebody else, who says that they were this one before."""
    before = {"type": "alias", "messageId": "a2", "previousId": "ada", "userId": "cleo"}
    return await send(made, before, origin=SERVER)


COMEBACKS = [_event, _preferences, _sign_in, _report, _signal, _alias]


@pytest.mark.parametrize("comeback", COMEBACKS, ids=[c.__name__ for c in COMEBACKS])
async def test_who_was_erased_is_not_named_again(comeback: Any) -> None:
    made = await shop()
    await ada(made)
    await erase(made, (ADA,), SERVER)
    size, end = len(list(made.store.ledger())), made.store.end
    came = await comeback(made)
    assert (len(list(made.store.ledger())), made.store.end) == (size, end)
    if comeback is _report:
        assert came == [None]
    assert standing_of(made, ADA).suppressed


async def test_a_yes_of_somebody_erased_is_told_to_nobody() -> None:
    made = await shop()
    await ada(made)
    await erase(made, (ADA,), SERVER)
    for answer in (True, False):
        body = await choose(made, ADA, analytics=answer)
        orders = made.store.orders.of_record(body["recordId"])
        assert {order.verb for order in orders} <= {Verb.GATE}
        assert all("erased" in o.why for o in orders if o.destination != "deaf")


CLEO, MAILS = "cleo@shop.example", {"email": "cleo@shop.example"}
BESIDES: dict[str, dict[str, Any]] = {
    "as the account before": {"type": "alias", "previousId": "ada"},
    "as the one before, by a name that is escaped": {"type": "alias", "previousId": "ada"},
    "in another address": {"type": "identify", "traits": MAILS, "context": {"traits": "ada"}},
    "in what was bought": {
        "type": "track",
        "event": "Bought",
        "traits": MAILS,
        "properties": "ada",
    },
}


def _filled(case: str) -> dict[str, Any]:
    """What Cleo sends, which names Ada; another address of hers where it says so."""
    message = {"messageId": "m", "userId": "cleo", **BESIDES[case]}
    if message.get("properties") == "ada":
        message["properties"] = {"email": f" {MAIL.value.upper()}"}
    if "context" in message:
        message["context"] = {"traits": {"email": MAIL.value}}
    return message


@pytest.mark.parametrize("case", BESIDES)
async def test_what_waits_and_names_somebody_erased_besides_is_not_sent(case: str) -> None:
    made = await shop()
    text = msgspec.json.encode(_filled(case))
    if "escaped" in case:
        text = text.replace(b"previousId", b"\\u0070reviousId")
    await send(made, identify("ada", "d1", email=MAIL.value), origin=SERVER)
    await choose(made, Node(NodeKind.ACCOUNT, "cleo"), analytics=True)
    written = Written(msgspec.json.decode(text), text)
    incoming = Incoming(PUBLIC, [written], Envelope(made.clock.now()))
    await accept(made, incoming)
    (one,) = [each for each in made.store.events_from(0, 9) if each.event.message_id == "m"]
    before = Owed(made, one, "both")
    assert before.allowed()
    await erase(made, (ADA,), SERVER)
    assert before.allowed() is Owed(made, one, "both").allowed() is False
    decided = decide_now(made, one.event, "both")
    assert decided is not None
    assert (decided.allow, decided.reason) == (False, Reason.SUPPRESSED)
    assert decide_now(made, one.event, "nobody") is None
    kept = Kept()
    assert [one.state for one in await deliver(made, kept, "both", [one])] == [State.WITHHELD]
    assert not kept.received
    await suppress(made, (ADA, MAIL), Origin("", "admin"), None, on=False)
    assert Owed(made, one, "both").allowed(), "the operator has lifted it"


@pytest.mark.parametrize("case", BESIDES)
async def test_what_names_somebody_erased_besides_is_not_stored(case: str) -> None:
    made = await shop()
    text = msgspec.json.encode(_filled(case))
    if "escaped" in case:
        text = text.replace(b"previousId", b"\\u0070reviousId")
    await send(made, identify("ada", "d1", email=MAIL.value), origin=SERVER)
    await choose(made, Node(NodeKind.ACCOUNT, "cleo"), analytics=True)
    await erase(made, (ADA,), SERVER)
    before = made.store.end
    for message in (Written(msgspec.json.decode(text), text), msgspec.json.decode(text)):
        await accept(made, Incoming(PUBLIC, [message], Envelope(made.clock.now())))
    assert made.store.end == before


async def test_an_operator_may_lift_it_and_what_was_granted_before_stays_void() -> None:
    made = await shop()
    await ada(made)
    await choose(made, ADA, analytics=True)
    await erase(made, (ADA,), SERVER)
    await suppress(made, (ADA,), SERVER, None, on=False)
    assert not is_erased(made, (ADA,))
    standing = standing_of(made, ADA)
    assert standing.of("analytics").grant is None


async def test_an_erasure_on_its_way_counts_already() -> None:
    made = await shop()
    await ada(made)
    seen: list[bool] = []
    commit = made.store.commit

    async def watched(what: Any) -> Any:
        seen.append(is_erased(made, (ADA,)) and standing_of(made, ADA).suppressed)
        return await commit(what)

    made.store.commit = watched  # type: ignore[method-assign]
    await erase(made, (ADA,), SERVER)
    assert seen == [True]
    assert not made.erasing


async def _failed(made: World, order: Order) -> Order:
    over = {"state": OrderState.TERMINAL, "grade": Grade.FAILED_FINAL}
    ended = msgspec.structs.replace(order, **over)
    await made.store.commit(Commit(tried=(Tried(ended),)))
    return ended


async def test_what_failed_for_good_is_not_tried_again_after_the_erasure() -> None:
    """It would name them again to who was told to forget them."""
    made = await shop()
    for account in (ADA, BOB):
        await choose(made, account, analytics=True)
        await choose(made, account, analytics=False)
    waiting = made.store.orders.waiting("both")
    failed = [await _failed(made, order) for order in waiting if order.verb is Verb.SUPPRESS]
    await erase(made, (ADA,), SERVER)
    again = await try_again(made, failed)
    assert [order.named for order in again] == [(BOB,)]
    erasure = [order for order in made.store.orders.waiting("both") if order.erases]
    assert [o.order_id for o in await try_again(made, erasure)] == [o.order_id for o in erasure]


async def test_nothing_about_a_topic_is_told_again_after_an_erasure_that_only_suppresses() -> None:
    """A system that cannot erase is told to stop, and of nothing that it was told before."""
    made = await shop()
    await choose(made, ADA, analytics=False)
    before = made.store.orders.waiting("suppresser")[0]
    about = msgspec.structs.replace(before, topics=(("news", "email"),), read_at=1)
    await erase(made, (ADA,), SERVER)
    asked: list[str] = []
    read = await read_back(made, cast("Any", _Asked(asked)), about)
    assert (asked, read.again, read.order.read_at) == ([], None, None)


class _Asked:
    """A system that says it holds something else."""

    def __init__(self, asked: list[str], found: Found = Found.DIFFERENT) -> None:
        self._asked = asked
        self._found = found

    async def read_back(self, instruction: Any, ref: str) -> Reading:
        self._asked.append(ref)
        return Reading(self._found)


async def test_an_erasure_that_had_to_be_told_again_names_nobody_in_the_end() -> None:
    made = await shop()
    erased = (await erase(made, (ADA,), SERVER)).body["erasureId"]
    (first,) = [o for o in made.store.orders.waiting("eraser") if o.record_id == erased]
    over = {"state": OrderState.TERMINAL, "grade": Grade.ACCEPTED, "read_at": 1}
    told = msgspec.structs.replace(first, **over)
    await made.store.commit(Commit(tried=(Tried(told),)))
    await made.store.commit((await read_back(made, cast("Any", _Asked([])), told)).commit)
    (again,) = made.store.orders.waiting("eraser")
    assert again.again_of == first.order_id
    done = msgspec.structs.replace(again, **over)
    await made.store.commit(Commit(tried=(Tried(done),)))
    await made.store.commit(
        (await read_back(made, cast("Any", _Asked([], Found.EQUAL)), done)).commit
    )
    orders = [o for o in made.store.orders.of_record(erased) if o.destination == "eraser"]
    assert not any(order.named for order in orders)


@pytest.mark.parametrize("shared", [False, True])
async def test_what_was_on_its_way_as_they_were_erased_is_not_told_of_them(*, shared: bool) -> None:
    """Its record comes after the erasure's. What else it names is still told."""
    made = await shop()
    await choose(made, ADA, analytics=False)
    (before, *_) = made.store.orders.waiting("suppresser")
    await erase(made, (ADA,), SERVER)
    named = (ADA, SHARED) if shared else (ADA,)
    late = msgspec.structs.replace(before, named=named, seq=len(list(made.store.ledger())))
    assert holds(made, late) is shared
    if shared:
        assert instruction_of(made, late).person.user_ids == ()
        assert instruction_of(made, late).person.anonymous_ids == (SHARED.value,)
    assert holds(made, before), "what came before it goes before it"
    assert instruction_of(made, before).person.user_ids == (ADA.value,)


async def as_far_as_it_goes(shredder: Shredder) -> None:
    """Part by part, until it has to wait or is done."""
    while (done := await shredder.step()) is not None and not (done.part.waits or done.part.done):
        pass


# -- what is ours goes ------------------------------------------------------------------------------
async def test_it_waits_for_orders_on_their_way_and_for_a_destination_that_is_gone() -> None:
    made = await shop()
    await ada(made)
    await choose(made, ADA, analytics=False)
    waiting = {name: made.store.orders.waiting(name) for name in ("both", "suppresser")}
    assert all(waiting.values())
    await erase(made, (ADA,), SERVER)
    made.told = {name: told for name, told in TOLD.items() if name != "suppresser"}
    shredder = Shredder(made, pause=0)
    await as_far_as_it_goes(shredder)
    # They name a shared device too, of which the erasure says nothing: that no is still owed.
    assert (
        made.store.orders.waiting("suppresser")[: len(waiting["suppresser"])]
        == (waiting["suppresser"])
    )
    await give_up(made, "suppresser")
    (job,) = made.store.erasures.unfinished()
    assert not job.erased, "one destination may still be on the wire with an order of theirs"
    for one in waiting["both"]:
        ended = msgspec.structs.replace(one, state=OrderState.SUPERSEDED)
        await made.store.commit(Commit(tried=(Tried(ended),)))
    await as_far_as_it_goes(shredder)
    (job,) = made.store.erasures.unfinished()
    assert job.erased
    assert await shredder.step() is None, "what it owes still has to be told"
    assert made.store.erasures.unfinished()


async def test_who_is_erased_twice_is_erased_once_after_the_other() -> None:
    made = await shop()
    await ada(made)
    await choose(made, ADA, analytics=False)
    await erase(made, (ADA,), SERVER)
    await erase(made, (ADA,), SERVER)
    wall_s = [2_000_000_000]
    made.clock = Clock(made.store.newest, wall_ns=lambda: wall_s[0] * 10**9)
    shredder, waiting = Shredder(made), made.store.orders.waiting("both")[0]

    async def rounds() -> None:
        """In each the first one has its turn, and as long as it waits the second one."""
        for _ in range(9):
            wall_s[0] += 60
            while await shredder.step() is not None:
                pass

    await rounds()
    first, second = made.store.erasures.unfinished()
    assert (first.erased, second.erased) == (False, False), "an order still names her"
    entry = made.store.record(first.record_id)
    assert entry is not None
    assert entry.record.facts, "this says of whom the first one is"
    for name in TOLD:
        for order in made.store.orders.waiting(name):
            if not order.erases:
                ended = msgspec.structs.replace(order, state=OrderState.SUPERSEDED)
                await made.store.commit(Commit(tried=(Tried(ended),)))
    await rounds()
    assert all(job.erased for job in made.store.erasures.unfinished())
    ended = made.store.orders.order(waiting.order_id)
    assert ended is not None
    assert not ended.named
    assert is_erased(made, (ADA,))


async def test_who_was_linked_to_the_one_that_an_order_is_about_is_not_named_once_erased() -> None:
    """Only their link to a device said that they may be suppressed, and it goes with them."""
    made = await shop()
    await ada(made)
    await choose(made, SHARED, analytics=False)
    (late,) = made.store.orders.waiting("suppresser")
    assert ADA in late.named
    await erase(made, (ADA,), SERVER)
    late = msgspec.structs.replace(late, seq=len(list(made.store.ledger())))
    while (job := made.store.erasures.unfinished()[0]) and not job.erased:
        for name in TOLD:
            for order in made.store.orders.waiting(name):
                ended = msgspec.structs.replace(order, state=OrderState.SUPERSEDED)
                await made.store.commit(Commit(tried=(Tried(ended),)))
        await Shredder(made, pause=0).step()
    assert instruction_of(made, late).person.user_ids == (BOB.value,)


async def test_a_job_begins_when_what_was_being_decided_is_in_the_log() -> None:
    made = await shop()
    await ada(made)
    await erase(made, (ADA,), SERVER)
    assert await Shredder(made).step() is None
