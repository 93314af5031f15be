"""What a gate does for those who use it: handing on, recording, refusing, counting."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from consentry.client import Gate, Refused
from consentry.config import Source
from consentry.core.policy import Category, Mapping, Policy, Regime
from tests.client.gates import (
    ALL,
    FILTERED,
    Kept,
    gate_and_kept,
    policy,
    track,
)

BROKEN = RuntimeError("the queue is full")


def broken(_: Any) -> None:
    raise BROKEN


# -- handing on -----------------------------------------------------------------------------------
@pytest.mark.parametrize("times", [1, 3])
def test_an_event_goes_where_it_may_and_nowhere_else(times: int) -> None:
    gate, kept = gate_and_kept()
    event = track(**ALL | {"advertising": False})

    results = [gate.push(event) for _ in range(times)]

    assert {name: len(events) for name, events in kept.events.items()} == {
        "warehouse": times,
        "ads": 0,
        "support": times,
    }
    for result in results:
        assert result.delivered == ("warehouse", "support")
        assert result.withheld == {"ads": FILTERED}
        assert result.failed == {}
    assert kept.events["warehouse"][-1] == event


@pytest.mark.parametrize("first_time", [True, False])
def test_what_a_callable_raises_is_told_and_the_others_are_called(first_time: bool) -> None:
    gate = Gate(policy())
    gate.add("warehouse", broken)
    kept = Kept(gate, "ads", "support")
    if not first_time:
        gate.push(track(**ALL))

    result = gate.push(track(**ALL))

    assert result.failed == {"warehouse": BROKEN}
    assert result.delivered == ("ads", "support")
    assert kept.called == ["ads", "support"]


def test_what_is_allowed_and_not_added_is_told() -> None:
    gate = Gate(policy())
    gate.add("ads", lambda event: None)

    result = gate.push(track(**ALL | {"support": False}))

    assert result.delivered == ("ads",)
    assert result.withheld == {"warehouse": "not_added", "support": FILTERED}


def test_who_is_added_later_is_called_from_then_on() -> None:
    gate = Gate(policy())
    gate.push(track(**ALL))
    kept = Kept(gate, "ads")

    assert gate.push(track(**ALL)).delivered == ("ads",)
    assert kept.called == ["ads"]


def test_a_destination_without_a_category_is_withheld_unless_it_is_exempt() -> None:
    gate, kept = gate_and_kept(
        Mapping("bare", "webhook"),
        Mapping("till", "webhook", exempt="it takes the payment"),
        Mapping("off", "webhook", ("analytics",), enabled=False),
    )

    result = gate.push(track(**ALL))

    assert result.delivered == ("till",)
    assert result.withheld == {"bare": "unmapped", "off": "destination_disabled"}
    assert kept.called == ["till"]


def test_a_name_that_is_not_configured_is_refused() -> None:
    gate = Gate(policy())
    with pytest.raises(ValueError, match="there is no destination 'Ads': there are warehouse, ads"):
        gate.add("Ads", print)
    with pytest.raises(TypeError):
        gate.add("ads", "not callable")  # type: ignore[arg-type]
    gate.add("ads", print)
    with pytest.raises(ValueError, match="already"):
        gate.add("ads", print)


def test_in_shadow_everything_is_decided_and_nobody_is_called() -> None:
    gate, kept = gate_and_kept(shadow=True)

    for _ in range(2):
        result = gate.push(track(**ALL | {"advertising": False}))
        assert result.withheld == {"warehouse": "shadow", "ads": FILTERED, "support": "shadow"}
    assert kept.called == []
    assert gate.decide(track(**ALL)).allowed == ("warehouse", "ads", "support")


def test_an_asynchronous_callable_is_no_delivery_for_push() -> None:
    gate = Gate(policy())
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)

    gate.add("ads", send)
    for _ in range(2):
        result = gate.push(track(**ALL))
        assert "apush" in str(result.failed["ads"])
        assert result.delivered == ()
    assert sent == []


async def test_apush_calls_both_sorts_at_once() -> None:
    gate = Gate(policy())
    both_run, sent = asyncio.Barrier(2), []

    async def meet(event: Any) -> None:
        await both_run.wait()
        sent.append(event)

    gate.add("warehouse", meet)
    gate.add("ads", meet)
    gate.add("support", broken)

    result = await asyncio.wait_for(gate.apush(track(**ALL)), 30)

    assert (set(result.delivered), result.failed) == ({"warehouse", "ads"}, {"support": BROKEN})
    assert len(sent) == 2
    denied = await gate.apush(track(analytics=False))
    assert set(denied.withheld) == {"warehouse", "ads", "support"}


# -- deciding ---------------------------------------------------------------------------------------
def test_a_decision_says_why() -> None:
    answer = Gate(policy()).decide(track(analytics=True, advertising=False))

    assert answer.allowed == ("warehouse",)
    assert [one.destination for one in answer] == ["warehouse", "ads", "support"]
    ads = answer.of("ads")
    assert ads is not None
    assert (ads.allow, ads.reason) == (False, FILTERED)
    assert [(v.id, v.why) for v in ads.verdicts] == [("advertising", "denied")]
    assert [ground.as_json() for ground in ads.grounds] == [{"stamp": True}]
    assert answer.of("nowhere") is None


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({**track(), "context": {"consent": {"categoryPreferences": {"ads": 1}}}}, "ads"),
        ({**track(), "context": None}, "context"),
        (track(None), "anonymousId"),
        ({**track(analytics=True), "timestamp": datetime.now(UTC)}, "timestamp"),
        (["no", "event"], "$"),
    ],
)
def test_a_malformed_event_is_refused_with_its_field(event: Any, field: str) -> None:
    gate, kept = gate_and_kept()
    for ask in (gate.decide, gate.push):
        with pytest.raises(Refused) as refused:
            ask(event)
        assert (refused.value.field or "").endswith(field)
    assert kept.called == []
    assert gate.counts.refused == 1


def test_silence_is_read_by_the_regime_of_the_source() -> None:
    assert Gate(policy()).decide(track()).allowed == ()
    notice = Gate(policy(), source=Source("shop", regime=Regime.NOTICE))
    assert notice.decide(track()).allowed == ("warehouse", "ads", "support")


# -- between a decision and a call ---------------------------------------------------------------------
@pytest.mark.parametrize("pushed_before", [0, 1])
def test_a_withdrawal_between_two_calls_stops_the_second(pushed_before: int) -> None:
    """By the long way and by the plan: the first destination records a withdrawal."""
    gate = Gate(policy())
    withdrawing = False

    def withdraw(event: Any) -> None:
        if withdrawing:
            gate.record({"anonymousId": event["anonymousId"]}, {"advertising": False})

    gate.add("warehouse", withdraw)
    kept = Kept(gate, "ads", "support")
    for _ in range(pushed_before):
        gate.push(track(**ALL))
    kept.events = {name: [] for name in kept.events}
    withdrawing = True

    result = gate.push(track(**ALL))

    assert result.delivered == ("warehouse", "support")
    assert result.withheld == {"ads": FILTERED}
    assert kept.called == ["support"]
    assert kept.told("support")["advertising"] is False


async def test_a_withdrawal_while_one_is_awaited_stops_those_that_come_after() -> None:
    gate = Gate(policy())

    async def withdraw(event: Any) -> None:
        gate.record({"anonymousId": event["anonymousId"]}, {"advertising": False})

    gate.add("warehouse", withdraw)
    kept = Kept(gate, "ads", "support")

    result = await gate.apush(track(**ALL))

    assert (set(result.delivered), result.withheld) == ({"warehouse", "support"}, {"ads": FILTERED})
    assert kept.called == ["support"]


def test_a_grant_between_two_calls_opens_nothing() -> None:
    """An event goes only where it was allowed as of its acceptance, too."""
    gate = Gate(policy())

    def consent(event: Any) -> None:
        gate.record({"anonymousId": event["anonymousId"]}, ALL)

    gate.add("warehouse", consent)
    kept = Kept(gate, "ads", "support")

    for _ in range(2):
        result = gate.push(track("a-9", **ALL | {"advertising": False}))
        assert result.withheld == {"ads": FILTERED}
    assert kept.called == ["support"]


# -- counting --------------------------------------------------------------------------------------------
def test_everything_is_counted() -> None:
    gate = Gate(policy())
    gate.add("warehouse", lambda event: None)
    gate.add("ads", broken)
    for _ in range(3):
        gate.push(track(**ALL))
    gate.push(track(analytics=True))
    gate.add("support", lambda event: None)
    gate.push(track(**ALL))

    counts = gate.counts

    assert counts.delivered == {"warehouse": 5, "support": 1}
    assert counts.failed == {"ads": 4}
    assert counts.withheld == {"support": 4, "ads": 1}


def test_more_consent_objects_than_are_remembered_are_decided_all_the_same() -> None:
    categories = tuple(Category(f"c{n}") for n in range(13))
    gate = Gate(Policy("shop", categories=categories, mappings=(Mapping("one", "k", ("c0",)),)))
    seen = []
    gate.add("one", seen.append)
    for n in range(2**13):
        answers = {f"c{bit}": bool(n >> bit & 1) for bit in range(13)}
        assert gate.push(track(**answers)).delivered == (("one",) if n & 1 else ())

    assert (gate.counts.delivered, gate.counts.withheld) == ({"one": 4096}, {"one": 4096})
    assert len(seen) == 4096
