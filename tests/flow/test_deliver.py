"""What an attempt may and may not do with consent that moves while it is made."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from consentry.clock import Clock
from consentry.core.delivery import State
from consentry.core.policy import Mapping
from consentry.core.record import Node, NodeKind
from consentry.flow.configure import take_policy
from consentry.ports import StoreUnavailable
from consentry.store.memory import MemoryStore
from tests.flow.stage import PUBLIC, SERVER, Kept, attempt, choose, send, track, update, world
from tests.store.makers import notary

DEVICE = Node(NodeKind.DEVICE, "d1")
ACCOUNT = Node(NodeKind.ACCOUNT, "u1")
WAREHOUSE = Mapping("warehouse", "kept", ("analytics",))
ADS = Mapping("ads", "kept", ("advertising",))
CRM = Mapping("crm", "kept", ("advertising",), share_consent=True)


async def test_a_withdrawal_while_a_connection_is_made_stops_the_send() -> None:
    made = await world(ADS)
    await choose(made, DEVICE, advertising=True)
    await send(made, track("m1", "d1"))
    kept = Kept(meanwhile=lambda: choose(made, DEVICE, advertising=False))

    settled = await attempt(made, "ads", kept)

    assert kept.received == []
    assert [one.state for one in settled] == [State.WITHHELD]


async def test_what_is_sent_never_says_more_than_holds_at_the_first_byte() -> None:
    made = await world(WAREHOUSE)
    await choose(made, DEVICE, analytics=True, advertising=True)
    await send(made, track("m1", "d1"))
    kept = Kept(meanwhile=lambda: choose(made, DEVICE, advertising=False))

    await attempt(made, "warehouse", kept)

    consent = kept.received[0].body["context"]["consent"]["categoryPreferences"]
    assert consent == {"analytics": True, "advertising": False}
    assert kept.received[0].consent == consent


FORMS = {
    "current": {"consent": {"categoryPreferences": {"analytics": True, "advertising": True}}},
    "draft": {"consentCategories": {"analytics": True, "advertising": True}},
    "RudderStack's": {
        "consentManagement": {
            "provider": "custom",
            "allowedConsentIds": ["analytics", "advertising"],
            "deniedConsentIds": [],
        }
    },
}


@pytest.mark.parametrize("form", FORMS)
async def test_a_queued_stamp_is_narrowed_by_what_was_withdrawn_since(form: str) -> None:
    made = await world(WAREHOUSE)
    await send(made, {**track("m1", "d1"), "context": FORMS[form]})
    await choose(made, DEVICE, advertising=False)
    kept = Kept()

    await attempt(made, "warehouse", kept)

    context = kept.received[0].body["context"]
    assert context["consent"]["categoryPreferences"] == {"analytics": True, "advertising": False}
    assert context.get("consentCategories", {}).get("advertising") is not True
    lists = context.get("consentManagement")
    if lists is not None:
        assert lists["allowedConsentIds"] == ["analytics"]
        assert lists["deniedConsentIds"] == ["advertising"]


async def test_a_category_that_is_turned_off_is_narrowed_all_the_same() -> None:
    """Here it decides nothing any more, but the receiver may still act on it."""
    made = await world(WAREHOUSE)
    await send(made, track("m1", "d1", analytics=True, advertising=True))
    await choose(made, DEVICE, advertising=False)
    categories = tuple(replace(c, enabled=c.id != "advertising") for c in made.policy.categories)
    await take_policy(made, replace(made.policy, categories=categories))
    kept = Kept()

    await attempt(made, "warehouse", kept)

    consent = kept.received[0].body["context"]["consent"]["categoryPreferences"]
    assert consent == {"analytics": True, "advertising": False}


async def test_a_stamp_that_nothing_contradicts_arrives_as_it_was_sent() -> None:
    made = await world(WAREHOUSE)
    await send(made, track("m1", "d1", analytics=True, advertising=True, unknown=True))
    kept = Kept()

    await attempt(made, "warehouse", kept)

    consent = kept.received[0].body["context"]["consent"]["categoryPreferences"]
    assert consent == {"analytics": True, "advertising": True, "unknown": True}


async def test_a_repeated_update_does_not_keep_the_first_from_being_told() -> None:
    made = await world(CRM)
    message = update("m1", "d1", analytics=False, advertising=False)
    await send(made, message)
    await send(made, message)
    kept = Kept()

    await attempt(made, "crm", kept)

    assert [one.message_id for one in kept.received] == ["m1"]


async def test_a_choice_by_another_door_does_not_keep_an_update_from_being_told() -> None:
    made = await world(CRM)
    message = {**update("m1", "d1", analytics=False, advertising=False), "userId": "u1"}
    await send(made, message, origin=SERVER)
    await choose(made, ACCOUNT, origin=PUBLIC, unheard_of=True)
    kept = Kept()

    await attempt(made, "crm", kept)

    assert [one.message_id for one in kept.received] == ["m1"]


async def test_of_two_updates_only_the_later_is_told_with_what_holds_now() -> None:
    made = await world(CRM)
    await send(made, update("m1", "d1", analytics=True, advertising=True))
    await send(made, update("m2", "d1", analytics=True, advertising=False))
    kept = Kept()

    await attempt(made, "crm", kept)

    assert [one.message_id for one in kept.received] == ["m2"]
    consent = kept.received[0].body["context"]["consent"]["categoryPreferences"]
    assert consent == {"analytics": True, "advertising": False}
    assert set(kept.received[0].body) <= {
        *("type", "event", "messageId", "anonymousId", "timestamp", "receivedAt", "context")
    }


class FullDisk(MemoryStore):
    """A store on a disk that fills up."""

    full = False

    @property
    def available(self) -> bool:
        return not self.full and super().available


async def test_nothing_is_sent_while_withdrawals_cannot_be_recorded() -> None:
    disk = FullDisk(notary(), clock=Clock().now)
    made = await world(ADS, store=disk)
    await choose(made, DEVICE, advertising=True)
    await send(made, track("m1", "d1"))
    kept = Kept()

    disk.full = True
    with pytest.raises(StoreUnavailable):
        await attempt(made, "ads", kept)
    assert kept.received == []

    disk.full = False
    await attempt(made, "ads", kept)
    assert [one.message_id for one in kept.received] == ["m1"]


async def test_an_event_waits_for_the_grant_that_was_received_before_it() -> None:
    """Decided without it, the event would be withheld and explained as consented later."""
    made = await world(ADS)
    choice = asyncio.ensure_future(send(made, update("c", "d1", analytics=True, advertising=True)))
    await asyncio.sleep(0)
    accepted = await send(made, track("m1", "d1"))
    await choice

    assert [d.allow for d in accepted.decided[0].decisions] == [True]


async def test_a_subject_with_more_identifiers_than_can_be_read_is_withheld() -> None:
    made = await world(ADS)
    await choose(made, ACCOUNT, advertising=True)
    many = [
        {"type": "identify", "messageId": f"i{n}", "anonymousId": f"x{n}", "userId": "u1"}
        for n in range(1001)
    ]
    before = await send(made, {**track("m0", "d1"), "userId": "u1"})
    await send(made, *many)
    after = await send(made, {**track("m1", "d1"), "userId": "u1"})

    assert before.decided[0].decisions[0].allow
    decision = after.decided[0].decisions[0]
    assert not decision.allow
    assert decision.verdicts[0].why == "conflict"


async def test_a_long_request_lets_others_have_their_turn() -> None:
    made = await world(ADS)
    many = [
        {"type": "identify", "messageId": f"i{n}", "anonymousId": f"x{n}", "userId": "u1"}
        for n in range(400)
    ]
    request = asyncio.ensure_future(send(made, *many))
    turns = 0
    while not request.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 5
