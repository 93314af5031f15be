"""An erasure, and a destination that is not configured as it is asked for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from consentry.core.delivery import Grade
from consentry.core.order import OrderState, Verb
from consentry.core.policy import Category, Mapping, Policy
from consentry.core.record import Node, NodeKind
from consentry.destinations.instruction import Orders
from consentry.flow.configure import take_policy
from consentry.flow.erase import AWAY, erase, told_of
from consentry.flow.propagate import give_up, try_again
from consentry.flow.shred import Shredder
from consentry.flow.world import Tellable, World
from consentry.orders import Order, Tried
from consentry.ports import Commit, Progress
from tests.flow.stage import PUBLIC, SERVER, choose, send, world

ADA, DEVICE = Node(NodeKind.ACCOUNT, "ada"), Node(NodeKind.DEVICE, "d1")
IDENTIFIERS = frozenset({"anonymous_ids", "user_ids"})
ALL = Orders(
    dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.CONFIRMED), IDENTIFIERS, "Slow."
)
STOPS = Orders({Verb.SUPPRESS: Grade.CONFIRMED}, IDENTIFIERS, "It keeps what it has.")
TAKES = {"both": ALL, "stops": STOPS, "deaf": None}
CRM = Mapping("crm", "both", ("analytics",))


async def shop(kind: str = "both") -> World:
    """Two destinations; the mailer is of this kind, and its worker has read some events."""
    made = await world()
    made.takes = TAKES
    await configured(made, Mapping("mailer", kind, ("analytics",)), CRM)
    await made.store.record_progress(Progress(destination="mailer", position=0))
    return made


async def configured(made: World, *mappings: Mapping) -> None:
    await take_policy(made, Policy("shop", categories=(Category("analytics"),), mappings=mappings))
    made.told = {one.name: Tellable(TAKES[one.kind]) for one in mappings}


def mailer_of(made: World, erasure_id: str) -> list[Order]:
    found = made.store.orders.of_record(erasure_id)
    return [order for order in found if order.destination == "mailer"]


OWED = {
    "both": [("gate", "terminal"), ("suppress", "waiting"), ("erase", "waiting")],
    "stops": [("gate", "terminal"), ("suppress", "waiting")],
    "deaf": [("gate", "terminal")],
}


@pytest.mark.parametrize("kind", OWED)
async def test_it_is_owed_what_the_kind_that_it_had_takes(kind: str) -> None:
    made = await shop(kind)
    await configured(made, CRM)
    erasing = await erase(made, (ADA,), SERVER)
    assert erasing.away == ("mailer",)
    orders = mailer_of(made, erasing.body["erasureId"])
    assert [(one.verb.value, one.state.value) for one in orders] == OWED[kind]
    told = {one.destination: one for one in told_of(made, erasing.body["erasureId"])}
    assert told["mailer"].erases is (kind == "both")
    assert (told["mailer"].cannot == AWAY) is (kind != "deaf")
    assert told["crm"].cannot == "Slow."


async def test_nobody_waits_for_a_destination_that_was_never_there() -> None:
    made = await shop()
    erasing = await erase(made, (ADA,), SERVER)
    assert erasing.away == ()
    await configured(made, CRM, Mapping("new", "both", ("analytics",)))
    assert {one.destination for one in told_of(made, erasing.body["erasureId"])} == {
        "mailer",
        "crm",
    }


async def test_one_that_has_no_place_in_the_log_is_known_by_what_it_is_owed() -> None:
    made = await shop()
    await made.store.forget_place("mailer")
    await choose(made, ADA, analytics=False)
    await configured(made, CRM)
    assert (await erase(made, (ADA,), SERVER)).away == ("mailer",)
    assert (await erase(made, (Node(NodeKind.ACCOUNT, "bob"),), SERVER)).away == ()


async def test_what_waits_for_it_gives_way_and_the_job_waits_until_it_was_told() -> None:
    made = await shop()
    await choose(made, ADA, analytics=True)
    await choose(made, ADA, analytics=False)
    waiting = [one for one in made.store.orders.waiting("mailer") if one.verb is not Verb.GATE]
    await configured(made, CRM)
    for order in made.store.orders.waiting("crm"):
        await end(made, order)
    erased = (await erase(made, (ADA,), SERVER)).body["erasureId"]
    suppress, erasing = mailer_of(made, erased)[1:]
    shredder = Shredder(made, pause=0)
    while (done := await shredder.step()) is not None and not done.part.done:
        pass
    ended = [made.store.orders.order(one.order_id) for one in waiting]
    assert {one.superseded_by for one in ended if one is not None} == {suppress.order_id}
    (job,) = made.store.erasures.unfinished()
    assert job.erased
    for order in (suppress, erasing, *made.store.orders.waiting("crm")):
        assert await shredder.step() is None
        assert made.store.erasures.unfinished(), "somebody has still to be told of them"
        await end(made, order, subject=(), nodes=(), named=())
    done = await shredder.step()
    assert done is not None
    assert done.finished


async def test_a_no_that_the_erasure_does_not_say_still_waits_for_it() -> None:
    """Only a public key linked the device, so the erasure does not name it to others."""
    made = await shop()
    await choose(made, DEVICE, origin=PUBLIC, analytics=False)
    (refusal,) = made.store.orders.waiting("mailer")
    linked = {"type": "identify", "messageId": "i", "anonymousId": "d1", "userId": "ada"}
    await send(made, linked)
    await configured(made, CRM)
    for order in made.store.orders.waiting("crm"):
        await end(made, order)
    await erase(made, (ADA,), SERVER)
    shredder, waits = Shredder(made, pause=0), 0
    while not waits:
        done = await shredder.step()
        assert done is not None
        waits = done.part.waits
    assert waits == 1
    assert refusal.order_id in {one.order_id for one in made.store.orders.waiting("mailer")}


async def test_what_was_given_up_names_nobody_and_no_later_erasure_waits() -> None:
    made = await shop()
    await configured(made, CRM)
    erased = (await erase(made, (ADA,), SERVER)).body["erasureId"]
    assert await give_up(made, "mailer") == 2
    orders = mailer_of(made, erased)[1:]
    assert {(one.state, one.grade) for one in orders} == {(OrderState.TERMINAL, Grade.FAILED_FINAL)}
    assert not any(one.named or one.nodes or one.subject for one in orders)
    assert await try_again(made, orders) == []
    assert (await erase(made, (Node(NodeKind.ACCOUNT, "bob"),), SERVER)).away == ()


async def end(made: World, order: Order, **more: Any) -> None:
    ended = msgspec.structs.replace(order, state=OrderState.SUPERSEDED, **more)
    await made.store.commit(Commit(tried=(Tried(ended),)))
