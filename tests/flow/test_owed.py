"""What records owe to other systems: whom a destination is told of, and of what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from consentry.core.delivery import Grade
from consentry.core.order import OrderState, Verb
from consentry.core.policy import Category, Mapping, Match, Policy, Regime, Settings, Topic
from consentry.core.record import Node, NodeKind
from consentry.destinations.instruction import Heard, Orders
from consentry.flow.configure import take_policy
from consentry.flow.heard import take
from consentry.flow.propagate import holds, instruction_of
from consentry.flow.record_choice import answer_of, record_choice, suppress
from consentry.flow.records import Origin, Said
from consentry.flow.whom import TAKES_NONE, UNKNOWN, UNPROVEN
from consentry.flow.world import Tellable, World
from consentry.ledger.entry import RecordType
from consentry.orders import Order, Tried
from consentry.ports import Commit
from tests.flow.stage import PUBLIC, SERVER, send, track, update, world

DEVICE, ACCOUNT = Node(NodeKind.DEVICE, "d1"), Node(NodeKind.ACCOUNT, "u1")
OTHER = Node(NodeKind.ACCOUNT, "u2")
MAIL, PHONE = Node(NodeKind.EMAIL, "ann@shop.example"), Node(NodeKind.PHONE, "+431000")
PROVEN = Origin("website", "public", "u1")

EVERYTHING = dict.fromkeys((Verb.SUPPRESS, Verb.ERASE, Verb.GRANT), Grade.CONFIRMED)
ALL = frozenset({"anonymous_ids", "user_ids", "emails", "phones"})
HOOK = Orders(EVERYTHING, ALL, "Nothing.", channels=frozenset({"email", "sms"}))
MAILER = Orders(EVERYTHING, frozenset({"emails"}), "Nothing.", channels=frozenset({"email"}))
TOLD = {
    "hook": Tellable(HOOK, ("news",)),
    "mailer": Tellable(MAILER, ("news",)),
    "ads": Tellable(HOOK),
    "deaf": Tellable(),
}
TOPICS = (Topic("news", channels=("email", "sms")), Topic("sales"))
MAPPINGS = (
    Mapping("hook", "webhook", ("analytics",)),
    Mapping("mailer", "mailer", ("analytics",), enabled=False),
    Mapping("ads", "webhook", ("analytics", "advertising"), Match.ANY),
    Mapping("deaf", "console", ("analytics",)),
    Mapping("free", "webhook", exempt="strictly necessary"),
)


async def asked(**settings: Any) -> World:
    made = await world(*MAPPINGS)
    categories = (Category("analytics"), Category("advertising"))
    await take_policy(made, Policy("shop", Settings(**settings), categories, MAPPINGS, TOPICS))
    made.told = {**TOLD, "free": Tellable(HOOK)}
    return made


async def choose(
    made: World, *nodes: Node, origin: Origin = SERVER, topics: Any = None, **answers: bool
) -> list[Order]:
    """Record a choice; what it owes."""
    now = made.clock.now()
    said = Said(nodes, answer_of(answers, topics), now, now)
    body = (await record_choice(made, said, origin)).body
    orders = list(made.store.orders.of_record(body["recordId"]))
    assert [order.order_id for order in orders] == body["orders"]
    return orders


def said(orders: Iterable[Order], destination: str) -> list[str]:
    return [order.verb.value for order in orders if order.destination == destination]


def one(orders: Iterable[Order], destination: str, verb: Verb) -> Order:
    (found,) = [o for o in orders if (o.destination, o.verb) == (destination, verb)]
    return found


async def test_a_no_gates_and_suppresses_wherever_the_category_is_needed() -> None:
    made = await asked()
    orders = await choose(made, ACCOUNT, MAIL, analytics=False)
    assert said(orders, "hook") == ["gate", "suppress"]
    assert said(orders, "mailer") == ["gate", "suppress"]  # turned off, and holds data still
    assert said(orders, "deaf") == ["gate"]
    assert said(orders, "free") == []
    assert one(orders, "deaf", Verb.GATE).why == TAKES_NONE
    gate = one(orders, "hook", Verb.GATE)
    assert (gate.state, gate.grade, gate.why) == (OrderState.TERMINAL, Grade.GATED, "")
    assert gate.terminal_at == gate.acknowledged_at
    assert one(orders, "hook", Verb.SUPPRESS).named == (MAIL, ACCOUNT)
    assert one(orders, "mailer", Verb.SUPPRESS).named == (MAIL,)


async def test_of_two_categories_of_which_one_would_do_the_last_no_counts() -> None:
    made = await asked()
    await choose(made, ACCOUNT, analytics=True, advertising=True)
    assert said(await choose(made, ACCOUNT, analytics=False), "ads") == []
    assert said(await choose(made, ACCOUNT, advertising=False), "ads") == ["gate", "suppress"]


async def test_a_yes_is_told_once_it_opens_something() -> None:
    made = await asked()
    assert said(await choose(made, ACCOUNT, analytics=True), "hook") == ["grant"]
    assert said(await choose(made, ACCOUNT, analytics=True), "hook") == []
    await choose(made, ACCOUNT, analytics=False)
    assert said(await choose(made, ACCOUNT, analytics=True), "hook") == ["grant"]


async def test_where_silence_grants_a_no_is_told_and_a_first_yes_is_not() -> None:
    made = await asked(regime=Regime.OPT_OUT)
    assert said(await choose(made, ACCOUNT, analytics=True), "hook") == []
    assert said(await choose(made, ACCOUNT, analytics=False), "hook") == ["gate", "suppress"]


async def test_an_unproven_no_for_an_account_goes_no_further_than_our_gate() -> None:
    made = await asked()
    orders = await choose(made, ACCOUNT, origin=PUBLIC, analytics=False)
    assert said(orders, "hook") == ["gate"]
    assert one(orders, "hook", Verb.GATE).why == UNPROVEN


async def test_beside_a_device_only_the_device_is_named() -> None:
    made = await asked()
    orders = await choose(made, DEVICE, ACCOUNT, origin=PUBLIC, analytics=False)
    suppress_ = one(orders, "hook", Verb.SUPPRESS)
    assert suppress_.named == (DEVICE,)
    assert set(suppress_.nodes) == {DEVICE, ACCOUNT}
    assert one(orders, "mailer", Verb.GATE).why == UNKNOWN
    orders = await choose(made, DEVICE, ACCOUNT, origin=PROVEN, analytics=False)
    assert one(orders, "hook", Verb.SUPPRESS).named == (DEVICE, ACCOUNT)


@pytest.mark.parametrize("origin", [PUBLIC, PROVEN, SERVER], ids=["public", "proven", "server"])
async def test_what_is_linked_is_told_only_where_a_trusted_door_linked_it(origin: Origin) -> None:
    made = await asked()
    identify = {"type": "identify", "messageId": "m", "anonymousId": "d1", "userId": "u1",
                "traits": {"email": MAIL.value}}  # fmt: skip
    await send(made, identify, origin=origin)
    named = one(await choose(made, ACCOUNT, analytics=False), "hook", Verb.SUPPRESS).named
    trusted = origin is SERVER
    assert named == ((DEVICE, MAIL, ACCOUNT) if trusted else (ACCOUNT,))
    await send(made, identify | {"messageId": "n"}, origin=SERVER)
    named = one(await choose(made, ACCOUNT, analytics=False), "hook", Verb.SUPPRESS).named
    assert named == (DEVICE, MAIL, ACCOUNT)  # a trusted door has said it since


async def test_who_knows_a_device_does_not_speak_for_its_account() -> None:
    made = await asked()
    identify = {"type": "identify", "messageId": "m", "anonymousId": "d1", "userId": "u1"}
    await send(made, identify, origin=SERVER)
    orders = await choose(made, DEVICE, origin=PUBLIC, analytics=False)
    assert one(orders, "hook", Verb.SUPPRESS).named == (DEVICE,)
    orders = await choose(made, DEVICE, origin=SERVER, analytics=False)
    assert one(orders, "hook", Verb.SUPPRESS).named == (DEVICE, ACCOUNT)


async def sharing() -> World:
    """Two accounts on one device, as a trusted door has linked them."""
    made = await asked()
    for account in (ACCOUNT, OTHER):
        link = {"type": "identify", "messageId": account.value, "anonymousId": "d1"}
        await send(made, link | {"userId": account.value}, origin=SERVER)
    return made


async def test_the_yes_of_one_grants_nothing_for_another_who_shares_a_device() -> None:
    made = await sharing()
    await choose(made, ACCOUNT, analytics=False)
    orders = await choose(made, DEVICE, OTHER, analytics=True)
    assert one(orders, "hook", Verb.GRANT).named == (DEVICE, OTHER)


async def test_a_grant_names_nobody_who_has_refused_since_it_was_owed() -> None:
    made = await sharing()
    grant = one(await choose(made, OTHER, analytics=True), "hook", Verb.GRANT)
    assert grant.named == (DEVICE, OTHER)
    await choose(made, ACCOUNT, analytics=False)
    assert holds(made, grant)
    person = instruction_of(made, grant).person
    assert (person.anonymous_ids, person.user_ids) == ((), (OTHER.value,))


async def test_a_public_link_that_brings_a_no_closes_our_gate_alone() -> None:
    made = await asked()
    await choose(made, ACCOUNT, analytics=True)
    await choose(made, DEVICE, analytics=False)
    link = {"type": "identify", "messageId": "m", "anonymousId": "d1", "userId": "u1"}
    (record,) = (await send(made, link)).records
    orders = made.store.orders.of_record(record.record_id)
    assert said(orders, "hook") == ["gate"]
    assert {order.verb for order in orders} == {Verb.GATE}


async def test_a_trusted_link_that_brings_a_no_is_told() -> None:
    made = await asked()
    await choose(made, ACCOUNT, analytics=True)
    await choose(made, DEVICE, analytics=False)
    link = {"type": "identify", "messageId": "m", "anonymousId": "d1", "userId": "u1"}
    (record,) = (await send(made, link, origin=SERVER)).records
    orders = made.store.orders.of_record(record.record_id)
    assert said(orders, "hook") == ["gate", "suppress"]


async def test_a_topic_is_told_to_who_carries_it_by_its_channels() -> None:
    made = await asked()
    orders = await choose(made, ACCOUNT, MAIL, topics={"news": {"email": False, "sms": False}})
    assert said(orders, "hook") == ["gate", "suppress"] * 2
    told = [o.topics for o in orders if (o.destination, o.verb) == ("hook", Verb.SUPPRESS)]
    assert told == [(("news", "email"),), (("news", "sms"),)]
    assert one(orders, "mailer", Verb.SUPPRESS).topics == (("news", "email"),)
    assert said(orders, "ads") == []
    orders = await choose(made, ACCOUNT, MAIL, topics={"news": {"email": True}})
    assert one(orders, "hook", Verb.GRANT).topics == (("news", "email"),)
    assert said(await choose(made, MAIL, topics={"sales": {"email": False}}), "hook") == []


async def test_a_topic_answered_anew_takes_no_other_with_it() -> None:
    made = await asked()
    orders = await choose(made, ACCOUNT, MAIL, topics={"news": {"email": False, "sms": False}})
    await choose(made, ACCOUNT, MAIL, topics={"news": {"email": True}})
    left = [o for o in orders if (o.destination, o.verb) == ("hook", Verb.SUPPRESS)]
    assert [holds(made, order) for order in left] == [False, True]


async def test_who_writes_to_nobody_is_told_of_no_topic() -> None:
    made = await asked()
    made.told = {"hook": Tellable(replace(HOOK, channels=frozenset()), ("news",))}
    assert await choose(made, ACCOUNT, MAIL, topics={"news": {"email": False}}) == []
    assert await choose(made, ACCOUNT, MAIL, topics={"news": {"email": True}}) == []


async def heard(made: World, event_id: str = "1") -> list[Order]:
    """A refusal by the account, told by the mailer; what it owes the others as a whole."""
    one = Heard(ACCOUNT, denied=True, said="unsubscribed", event_id=event_id)
    (answered,) = await take(made, "mailer", [one])
    owed = made.store.orders.of_record(answered.body["recordId"])
    return [order for order in owed if order.whole]


async def test_what_nobody_proved_keeps_no_vendors_no_from_the_others() -> None:
    made = await asked()
    await choose(made, DEVICE, ACCOUNT, origin=PUBLIC, analytics=False)
    assert said(await heard(made), "hook") == ["gate", "suppress"]
    assert said(await heard(made, "2"), "hook") == [], "told already: no circle"


async def test_who_was_told_of_another_identifier_hears_what_a_vendor_reports() -> None:
    made = await asked()
    await choose(made, ACCOUNT, analytics=False)
    link = {"type": "identify", "messageId": "m", "anonymousId": "d1", "userId": "u1"}
    await send(made, link, origin=SERVER)
    told = Heard(DEVICE, denied=True, said="unsubscribed", event_id="1")
    for owed in (["gate", "suppress"], []):
        (answered,) = await take(made, "ads", [told])
        orders = made.store.orders.of_record(answered.body["recordId"])
        assert said([o for o in orders if o.whole], "hook") == owed
        told = replace(told, event_id="2")


async def test_who_could_have_a_person_all_the_same_hears_of_it_when_that_ends() -> None:
    made = await asked()
    await choose(made, ACCOUNT, analytics=True, advertising=True)
    assert said(await heard(made), "ads") == []
    await take_policy(made, replace(made.policy, mappings=tuple(
        replace(m, match=Match.ALL) for m in made.policy.mappings
    )))  # fmt: skip
    assert said(await heard(made, "2"), "ads") == ["gate", "suppress"]
    assert said(await heard(made, "3"), "ads") == []


async def test_whoever_reported_it_is_not_told_what_another_reports_of_it() -> None:
    made = await asked()
    reported = Heard(ACCOUNT, denied=True, said="unsubscribed", event_id="1")
    (answered,) = await take(made, "ads", [reported])
    orders = made.store.orders.of_record(answered.body["recordId"])
    assert said(orders, "ads") == []
    assert said([o for o in orders if o.whole], "hook") == ["gate", "suppress"]
    for event, owed in (("2", []), ("3", ["gate", "suppress"])):
        (answered,) = await take(made, "deaf", [replace(reported, event_id=event)])
        orders = made.store.orders.of_record(answered.body["recordId"])
        assert said(orders, "hook") == owed
        assert (
            said(orders, "ads") == []
        )  # it reported the first, and has another reason for the next
        await choose(made, ACCOUNT, analytics=True, advertising=True)


async def test_a_grant_that_was_left_out_may_have_been_heard_all_the_same() -> None:
    made = await asked()
    await choose(made, ACCOUNT, analytics=False)
    grant = one(await choose(made, ACCOUNT, analytics=True), "hook", Verb.GRANT)
    over = msgspec.structs.replace(grant, state=OrderState.SUPERSEDED)
    await made.store.commit(Commit(tried=(Tried(over),)))
    await choose(made, DEVICE, analytics=False)
    link = {"type": "identify", "messageId": "m", "anonymousId": "d1", "userId": "u1"}
    await send(made, link)  # nobody proved it: our gate alone is closed again
    told = Heard(ACCOUNT, denied=True, said="unsubscribed", event_id="1")
    (answered,) = await take(made, "deaf", [told])
    orders = made.store.orders.of_record(answered.body["recordId"])
    assert said(orders, "hook") == ["gate", "suppress"]


async def test_a_no_that_names_no_event_is_never_taken_for_an_earlier_one() -> None:
    made = await asked()
    await heard(made, "")
    await choose(made, ACCOUNT, analytics=True)
    assert said(await heard(made, ""), "hook") == ["gate", "suppress"]


async def test_a_channel_refused_is_told_as_its_topics() -> None:
    made = await asked()
    refused = answer_of(None, None, ["email"])
    now = made.clock.now()
    body = (await record_choice(made, Said((ACCOUNT, MAIL), refused, now, now), SERVER)).body
    orders = list(made.store.orders.of_record(body["recordId"]))
    assert one(orders, "hook", Verb.SUPPRESS).topics == (("news", "email"),)
    assert one(orders, "mailer", Verb.SUPPRESS).topics == (("news", "email"),)


async def test_who_is_suppressed_is_suppressed_everywhere() -> None:
    made = await asked()
    listed = await suppress(made, (ACCOUNT, MAIL), SERVER, None, on=True)
    assert said(listed.orders, "hook") == said(listed.orders, "free") == ["gate", "suppress"]
    assert said(listed.orders, "deaf") == ["gate"]
    assert made.store.orders.of_record(listed.record.record_id)
    lifted = await suppress(made, (ACCOUNT, MAIL), SERVER, None, on=False)
    assert said(lifted.orders, "hook") == []  # what was granted before counts no more
    assert said(lifted.orders, "free") == ["grant"]


async def test_a_preference_update_owes_as_a_choice_does() -> None:
    made = await asked()
    accepted = await send(made, update("m1", "d1", analytics=True, advertising=True))
    orders = made.store.orders.of_record(accepted.records[0].record_id)
    assert said(orders, "hook") == said(orders, "ads") == ["grant"]
    accepted = await send(
        made, track("m2", "d1"), update("m3", "d1", analytics=False, advertising=False)
    )
    orders = made.store.orders.of_record(accepted.records[0].record_id)
    assert said(orders, "hook") == said(orders, "ads") == ["gate", "suppress"]
    assert one(orders, "hook", Verb.SUPPRESS).named == (DEVICE,)


async def test_an_event_that_records_nothing_owes_nothing() -> None:
    made = await asked()
    await send(made, track("m1", "d1", analytics=False))
    assert not made.store.orders.find()


async def test_a_signal_is_a_no_to_what_it_covers() -> None:
    made = await asked()
    await choose(made, DEVICE, analytics=True, advertising=True)
    now = made.clock.now()
    answer = answer_of({"advertising": True}, None)
    body = (await record_choice(made, Said((DEVICE,), answer, now, None), PUBLIC, gpc=True)).body
    found = made.store.orders.find(DEVICE, "hook")
    assert [order.verb for order in found[:2]] == [Verb.SUPPRESS, Verb.GATE]
    assert found[0].order_id in body["orders"]


async def test_an_import_tells_a_no_and_never_a_yes() -> None:
    made = await asked()
    now = made.clock.now()
    for answers, told in (({"analytics": True}, []), ({"analytics": False}, ["gate", "suppress"])):
        given = Said((ACCOUNT,), answer_of(answers, None), now, now)
        body = (await record_choice(made, given, SERVER, type_=RecordType.IMPORT)).body
        assert said(made.store.orders.of_record(body["recordId"]), "hook") == told


async def test_whoever_told_us_is_told_nothing_back() -> None:
    made = await asked()
    now = made.clock.now()
    told = Said((ACCOUNT,), answer_of({"analytics": False}, None), now, now)
    await record_choice(made, told, SERVER, but="hook")
    assert not made.store.orders.find(destination="hook")
    assert made.store.orders.find(destination="ads")


async def test_a_profile_that_lets_events_flow_owes_orders_all_the_same() -> None:
    from consentry.core.policy import SEGMENT

    made = await asked()
    await take_policy(
        made, Policy("shop", SEGMENT, (Category("analytics"), Category("advertising")), MAPPINGS)
    )
    assert said(await choose(made, ACCOUNT, analytics=False), "hook") == ["gate", "suppress"]
