"""Every connector against its vendor's stand-in, a process of its own, in every mode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from consentry.core.delivery import Grade
from consentry.core.order import Verb
from consentry.destinations.transport import OutboundClient
from tests.destinations.instructions import instruction
from tests.destinations.vendors import BY_NAME, MODES, USUAL, VENDORS, Told, event
from tests.running import StandIn, call, stand_in

BOUND_S = 0.3  # of an exchange with a vendor that answers after half a minute


@pytest.fixture(scope="module")
def vendors() -> Iterator[StandIn]:
    with stand_in() as running:
        yield running


@pytest.fixture
async def client(vendors: StandIn) -> AsyncIterator[OutboundClient]:
    vendors.reset()
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


@pytest.fixture
async def impatient() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True, timeout_s=BOUND_S)
    yield client
    await client.close()


def persons(vendors: StandIn, name: str) -> dict[str, Any]:
    found: dict[str, Any] = call(vendors.base, "GET", f"/_ctl/{name}/state").json["persons"]
    return found


WITH_EVENTS = [vendor.name for vendor in VENDORS if vendor.events]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WITH_EVENTS)
async def test_an_event(
    vendors: StandIn, client: OutboundClient, impatient: OutboundClient, name: str, mode: str
) -> None:
    vendor = BY_NAME[name]
    vendors.mode(name, mode)
    through = impatient if mode == "slow" else client
    attempted = await vendor.module.send(through, [event()], vendor.options(vendors.base), None)
    (outcome,) = attempted.outcomes
    assert outcome.grade is (USUAL | dict(vendor.grades))[mode], outcome
    assert attempted.request_digest
    if mode == "ok":
        assert len(persons(vendors, name)) == 1


@pytest.mark.parametrize("name", WITH_EVENTS)
async def test_a_repetition_is_kept_once(
    vendors: StandIn, client: OutboundClient, name: str
) -> None:
    vendor = BY_NAME[name]
    options = vendor.options(vendors.base)
    sent = event()
    for _ in range(2):
        await vendor.module.send(client, [sent], options, None)
    (person,) = persons(vendors, name).values()
    assert person["eventCount"] == 1


CASES = [
    pytest.param(vendor.name, verb, told, mode, id=f"{vendor.name}-{verb}-{mode}")
    for vendor in VENDORS
    for verb, told in vendor.orders.items()
    for mode in MODES
]


@pytest.mark.parametrize(("name", "verb", "told", "mode"), CASES)
async def test_an_order(
    vendors: StandIn,
    client: OutboundClient,
    impatient: OutboundClient,
    name: str,
    verb: Verb,
    told: Told,
    mode: str,
) -> None:
    vendor = BY_NAME[name]
    options = vendor.options(vendors.base)
    if vendor.events:  # the vendor knows her
        await vendor.module.send(client, [event()], options, None)
    if told.after is not None:
        await vendor.module.obey(client, [instruction(told.after)], options, None)
    vendors.mode(name, mode)

    order = instruction(verb, **told.order)
    through = impatient if mode == "slow" else client
    attempted = await vendor.module.obey(through, [order], options, None)
    (outcome,) = attempted.outcomes
    assert outcome.grade is (USUAL | dict(told.grades))[mode], outcome
    assert attempted.request_digest or (told.after is not None and mode != "ok")
    if mode == "ok" and told.shows is not None:
        assert any(map(told.shows, persons(vendors, name).values())), persons(vendors, name)
    if mode in told.found:
        vendors.mode(name, "ok")
        reading = await vendor.module.read_back(client, order, options, outcome.ref)
        assert reading.found is told.found[mode], reading
        best = vendor.module.ORDERS.verbs[verb]
        assert mode != "ok" or best in (reading.grade, outcome.grade)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
def test_every_verb_that_is_taken_is_played(vendor: Any) -> None:
    assert set(vendor.orders) == set(vendor.module.ORDERS.verbs)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda vendor: vendor.name)
async def test_nobody_who_can_be_named_is_asked_about_without_a_request(
    vendors: StandIn, client: OutboundClient, vendor: Any
) -> None:
    for verb in vendor.module.ORDERS.verbs:
        order = instruction(verb, person=type(instruction().person)())
        attempted = await vendor.module.obey(client, [order], vendor.options(vendors.base), None)
        assert attempted.outcomes[0].grade is Grade.GATED
        assert attempted.request_digest is None
