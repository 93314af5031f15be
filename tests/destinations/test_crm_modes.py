"""Every connector, every mode of the stand-in, everything that can be asked: the right grade."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from consentry.core.delivery import Grade
from consentry.destinations.instruction import Found, Instruction
from consentry.destinations.message import Attempted, LastLookRefused
from consentry.destinations.transport import OutboundClient
from tests.destinations.crm import EVERYWHERE, VENDORS, Case, event
from tests.running import StandIn, stand_in

NUMBERS = itertools.count(1)  # each test has an instance of the vendor to itself
CASES = [(name, what) for name, vendor in VENDORS.items() for what in vendor.cases]
ORDERS = [(name, what) for name, what in CASES if VENDORS[name].cases[what].asked is not None]


@pytest.fixture(scope="module")
def running() -> Iterator[StandIn]:
    """The stand-in, a process of its own."""
    with stand_in() as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient(allow_private=True)
    yield client
    await client.close()


class Asking:
    """One vendor in the stand-in, and its connector."""

    def __init__(self, running: StandIn, client: OutboundClient, name: str, case: Case) -> None:
        self.running, self.client, self.name, self.case = running, client, name, case
        self.module = VENDORS[name].module
        self.instance = f"t{next(NUMBERS)}"
        base = f"{running.base}/{name}/{self.instance}"
        self.options = VENDORS[name].options(base, **case.options)

    async def before(self) -> None:
        """She bought something, so they know her; and then what the case says."""
        if self.module.SPEC.events:
            await self.module.send(self.client, [event("m-0")], self.options, None)
        for instruction in self.case.before:
            attempted = await self.obey(instruction)
            assert attempted.outcomes[0].grade is Grade.ACCEPTED, attempted

    async def obey(self, instruction: Instruction) -> Attempted:
        attempted: Attempted = await self.module.obey(
            self.client, [instruction], self.options, None
        )
        return attempted

    async def ask(self) -> Attempted:
        if self.case.asked is not None:
            return await self.obey(self.case.asked)
        attempted: Attempted = await self.module.send(self.client, [event()], self.options, None)
        return attempted

    async def found(self, ref: str) -> Found:
        reading = await self.module.read_back(self.client, self.case.asked, self.options, ref)
        assert reading.found is not Found.EQUAL or reading.grade is Grade.CONFIRMED
        found: Found = reading.found
        return found


@pytest.mark.parametrize(("name", "what"), CASES)
@pytest.mark.parametrize("mode", ["ok", "noop", "partial"])
async def test_what_it_comes_to_when_the_vendor_answers(
    running: StandIn, client: OutboundClient, name: str, what: str, mode: str
) -> None:
    case = VENDORS[name].cases[what]
    asking = Asking(running, client, name, case)
    running.mode(name, "ok")
    await asking.before()
    running.mode(name, mode)
    (outcome,) = (await asking.ask()).outcomes
    assert outcome.grade is {"ok": case.ok, "noop": case.noop, "partial": case.partial}[mode]
    running.mode(name, "ok")
    wanted = {"ok": case.read, "noop": case.unread}.get(mode)
    if case.asked is not None and wanted is not None and hasattr(asking.module, "read_back"):
        assert await asking.found(outcome.ref) is wanted


@pytest.mark.parametrize(("name", "what"), CASES)
@pytest.mark.parametrize("mode", EVERYWHERE)
async def test_what_it_comes_to_when_something_is_wrong(
    running: StandIn, client: OutboundClient, name: str, what: str, mode: str
) -> None:
    case = VENDORS[name].cases[what]
    hasty = OutboundClient(allow_private=True, timeout_s=0.3) if mode == "slow" else client
    asking = Asking(running, client, name, case)
    running.mode(name, "ok")
    await asking.before()
    running.mode(name, mode, **({"retry_after": 7} if mode == "429" else {}))
    asking.client = hasty
    (outcome,) = (await asking.ask()).outcomes
    assert outcome.grade is EVERYWHERE[mode]
    assert outcome.retry_after_s == (7 if mode == "429" else None)
    assert outcome.pause is (mode == "401")
    running.mode(name, "ok")
    if hasty is not client:
        await hasty.close()
    if case.asked is not None and mode not in ("slow", "truncate"):  # those were done all the same
        asking.client = client
        (outcome,) = (await asking.ask()).outcomes
        assert outcome.grade is case.ok, "and then it is tried again"


@pytest.mark.parametrize(("name", "what"), ORDERS)
async def test_when_it_cannot_be_asked_nobody_knows(
    running: StandIn, client: OutboundClient, name: str, what: str
) -> None:
    asking = Asking(running, client, name, VENDORS[name].cases[what])
    if not hasattr(asking.module, "read_back"):
        assert not asking.module.ORDERS.reads_back
        return
    for mode in ("401", "429", "5xx", "reset", "garbage", "truncate"):
        running.mode(name, mode)
        assert await asking.found("") is Found.UNKNOWN
    running.mode(name, "ok")


@pytest.mark.parametrize(("name", "what"), ORDERS)
async def test_after_a_newer_choice_nothing_leaves(
    running: StandIn, client: OutboundClient, name: str, what: str
) -> None:
    def refuse() -> None:
        raise LastLookRefused

    asking = Asking(running, client, name, VENDORS[name].cases[what])
    running.mode(name, "ok")
    with pytest.raises(LastLookRefused):
        await asking.module.obey(client, [asking.case.asked], asking.options, refuse)
    assert asking.instance not in str([entry["path"] for entry in running.journal(name)])


@pytest.mark.parametrize("name", VENDORS)
async def test_a_vendor_that_is_told_twice_holds_the_same(
    running: StandIn, client: OutboundClient, name: str
) -> None:
    running.mode(name, "ok")
    for what, case in VENDORS[name].cases.items():
        asking = Asking(running, client, name, case)
        await asking.before()
        first = await asking.ask()
        again = await asking.ask()
        allowed = {first.outcomes[0].grade, Grade.NOOP}  # there was nothing left to do
        assert again.outcomes[0].grade in allowed, what
        if case.asked is not None and case.read is not None and asking.module.ORDERS.reads_back:
            assert await asking.found(again.outcomes[0].ref) is case.read, what
