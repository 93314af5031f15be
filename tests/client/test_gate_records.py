"""What a gate knows: choices recorded in the process, a configuration, a store that is read."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from consentry.client import Gate, GateFull, Refused
from consentry.clock import Clock
from consentry.config import ConfigError, Source
from consentry.core.policy import Mapping, Policy
from consentry.core.record import Node, NodeKind
from consentry.flow.configure import take_policy
from consentry.flow.offline import NoRecords
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ports import StoreError
from consentry.secret import Secret
from consentry.store.record_file import RecordFile
from consentry.store.sqlite import SqliteStore
from tests.client.gates import (
    ALL,
    CATEGORIES,
    FILTERED,
    MAPPINGS,
    Kept,
    gate_and_kept,
    policy,
    track,
    update,
)
from tests.flow.stage import choose
from tests.store.makers import notary

TRUSTED = Source("backend", secret_keys=(Secret("s" * 32),))


# -- what is recorded -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("subject", "event"),
    [
        ({"anonymousId": "a-1"}, track("a-1", **ALL)),
        ({"userId": "u-1"}, track("a-2", "u-1", **ALL)),
        ({"email": " Ann@Shop.example"}, {**track(**ALL), "traits": {"email": "ann@shop.example"}}),
        ({"phone": "+43 123 456"}, {**track(**ALL), "properties": {"phone": "+43123456"}}),
    ],
)
def test_a_withdrawal_counts_at_once(subject: dict[str, str], event: dict[str, Any]) -> None:
    gate, kept = gate_and_kept()
    assert gate.push(event).delivered == ("warehouse", "ads", "support")

    holds = gate.record(subject, {"advertising": False})

    assert holds["advertising"] is False
    result = gate.push(event)
    assert result.delivered == ("warehouse", "support")
    assert result.withheld == {"ads": FILTERED}
    assert len(kept.events["ads"]) == 1
    assert kept.told("warehouse") == ALL | {"advertising": False}, "it is told what holds"
    assert event["context"]["consent"]["categoryPreferences"] == ALL, "and the event left alone"
    assert gate.push(track("another", **ALL)).delivered == ("warehouse", "ads", "support")


def test_a_grant_made_after_the_withdrawal_lifts_it() -> None:
    gate, _ = gate_and_kept()
    gate.record({"anonymousId": "a-1"}, {"advertising": False})
    gate.record({"anonymousId": "a-1"}, {"advertising": True}, made_at="2020-01-01T00:00:00Z")
    assert "ads" not in gate.push(track(**ALL)).delivered
    gate.record({"anonymousId": "a-1"}, {"advertising": True}, made_at=datetime(2020, 1, 1))
    assert "ads" not in gate.push(track(**ALL)).delivered

    gate.record({"anonymousId": "a-1"}, {"advertising": True})

    assert "ads" in gate.push(track(**ALL)).delivered


def test_what_is_recorded_decides_for_who_says_nothing() -> None:
    gate, kept = gate_and_kept()
    gate.record({"anonymousId": "a-1"}, {"analytics": True})

    event = {name: value for name, value in track().items() if name != "timestamp"}
    assert gate.push(event).delivered == ("warehouse",)
    assert kept.told("warehouse") == {"analytics": True, "advertising": False, "support": False}
    assert gate.push(track()).delivered == (), "made before the grant"


def test_a_choice_that_is_pushed_is_recorded_first() -> None:
    sharing = Mapping("crm", "webhook", ("analytics",), share_consent=True)
    gate, kept = gate_and_kept(*MAPPINGS, sharing)
    gate.record({"anonymousId": "a-1"}, {"support": False})
    choice = {**update("a-1", **ALL | {"advertising": False}), "properties": {"page": "cart"}}

    result = gate.push({**choice, "timestamp": "2020-01-01T00:00:00Z"})

    assert "crm" in result.delivered
    shared = kept.events["crm"][-1]
    assert "properties" not in shared
    assert kept.told("crm")["support"] is False, "an old yes lifts nothing"
    assert kept.told("crm")["advertising"] is False
    assert "ads" not in gate.push(track("a-1", **ALL)).delivered


def test_denials_cross_the_links_that_are_pushed() -> None:
    gate, _ = gate_and_kept()
    gate.record({"anonymousId": "a-1"}, {"advertising": False})
    gate.push({"type": "identify", "anonymousId": "a-1", "userId": "u-1"})

    assert "ads" not in gate.push(track(None, "u-1", **ALL)).delivered


def test_an_account_is_granted_for_by_a_trusted_source_alone() -> None:
    choice = {**update("a-1", **ALL), "userId": "u-1"}
    del choice["timestamp"]
    for source, delivered in ((Source("site"), ()), (TRUSTED, ("warehouse", "ads", "support"))):
        gate, _ = gate_and_kept(source=source)
        gate.push(choice)
        event = track(None, "u-1")
        del event["timestamp"]
        assert gate.push(event).delivered == delivered


@pytest.mark.parametrize(
    ("subject", "preferences", "field"),
    [
        ({}, {"ads": False}, "subject"),
        ("a-1", {"ads": False}, "subject"),
        ({"anonymousId": ""}, {"ads": False}, "subject.anonymousId"),
        ({"anonymousId": "a", "name": "Ann"}, {"ads": False}, "subject.name"),
        ({"email": "no address"}, {"ads": False}, "subject.email"),
        ({"anonymousId": "a"}, {}, "preferences"),
        ({"anonymousId": "a"}, {"ads": 0}, "preferences.ads"),
        ({"anonymousId": "a"}, ["ads"], "preferences"),
    ],
)
def test_a_malformed_choice_is_refused(subject: Any, preferences: Any, field: str) -> None:
    with pytest.raises(Refused) as refused:
        Gate(policy()).record(subject, preferences)
    assert refused.value.field == field
    with pytest.raises(Refused) as late:
        Gate(policy()).record({"userId": "u"}, {"ads": True}, made_at="yesterday")
    assert late.value.field == "made_at"


def test_a_full_gate_hands_on_nothing() -> None:
    gate, kept = gate_and_kept(most=2)
    gate.push(track("stranger", **ALL))
    gate.record({"anonymousId": "a-1"}, {"advertising": False})
    gate.record({"anonymousId": "a-2"}, {"advertising": False})
    kept.events = {name: [] for name in kept.events}

    with pytest.raises(GateFull):
        gate.record({"anonymousId": "a-3"}, {"advertising": False})

    for event in (track("stranger", **ALL), track("a-3", **ALL)):
        with pytest.raises(GateFull):
            gate.push(event)
        with pytest.raises(GateFull):
            gate.decide(event)
    assert kept.called == []
    assert (gate.counts.unreadable, gate.counts.recorded) == (2, 2)


# -- from a file --------------------------------------------------------------------------------------------
CONFIG = """
[workspace]
name = "Acme"
[[category]]
id = "analytics"
gpc = false
[[source]]
name = "backend"
secret_key = "env:NOT_SET_ANYWHERE"
regime = "notice"
[[destination]]
name = "warehouse"
kind = "webhook"
categories = ["analytics"]
url = "https://warehouse.example/hook"
secret = "env:NOT_SET_ANYWHERE_EITHER"
"""


def configured(path: Path, text: str = CONFIG) -> Path:
    file = path / "consentry.toml"
    file.write_text(text)
    return file


def test_a_gate_is_made_from_the_configuration_of_a_server_without_its_secrets(
    tmp_path: Path,
) -> None:
    assert "NOT_SET_ANYWHERE" not in os.environ
    gate = Gate.from_config(configured(tmp_path))
    kept = Kept(gate, "warehouse")

    assert gate.push(track(analytics=True)).delivered == ("warehouse",)
    assert gate.push(track(analytics=False)).withheld == {"warehouse": FILTERED}
    assert kept.called == ["warehouse"]
    assert gate.decide(track()).allowed == ()
    assert Gate.from_config(configured(tmp_path), source="backend").decide(track()).allowed
    with pytest.raises(ValueError, match="there is no source 'site': there are backend"):
        Gate.from_config(configured(tmp_path), source="site")


def test_a_wrong_configuration_gives_no_gate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Gate.from_config(configured(tmp_path, CONFIG.replace('["analytics"]', '["analitics"]')))
    with pytest.raises(ConfigError):
        Gate.from_config(tmp_path / "none.toml")
    shadow = CONFIG.replace('name = "Acme"', 'name = "Acme"\nshadow = true')
    gate = Gate.from_config(configured(tmp_path, shadow))
    kept = Kept(gate, "warehouse")
    assert gate.push(track(analytics=True)).withheld == {"warehouse": "shadow"}
    assert kept.called == []


async def served(path: Path) -> World:
    """A store in a file, as a server holds it."""
    clock = Clock()
    store = SqliteStore.open(str(path), notary(), clock=clock.now)
    world = World(store, Subjects(store), clock, Policy("shop"), 0)
    await take_policy(world, Policy("shop", categories=CATEGORIES))
    return world


async def test_a_store_is_read_and_what_a_server_writes_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "consentry.db"
    world = await served(path)
    device, event = Node(NodeKind.DEVICE, "a-1"), track(analytics=True)
    gate = Gate.from_config(configured(tmp_path), store=path)
    kept = Kept(gate, "warehouse")
    assert gate.push(event).delivered == ("warehouse",)

    await choose(world, device, analytics=False)

    assert gate.push(event).withheld == {"warehouse": FILTERED}
    assert gate.decide(event).allowed == ()
    await choose(world, device, analytics=True)
    assert gate.push(event).delivered == ("warehouse",)
    gate.record({"anonymousId": "a-1"}, {"analytics": False})
    assert gate.push(event).withheld == {"warehouse": FILTERED}
    assert len(kept.events["warehouse"]) == 2
    world.store.close()
    fresh = Gate.from_config(configured(tmp_path), store=path)
    assert fresh.decide(event).allowed == ("warehouse",), "nothing was written into the store"


async def test_a_withdrawal_that_a_server_writes_between_two_calls_counts(tmp_path: Path) -> None:
    path = tmp_path / "consentry.db"
    world, loop = await served(path), asyncio.get_running_loop()
    gate = Gate(policy(), records=RecordFile(str(path)))

    def withdrawn_meanwhile(event: Any) -> None:
        written = choose(world, Node(NodeKind.DEVICE, "a-1"), advertising=False)
        asyncio.run_coroutine_threadsafe(written, loop).result(30)

    gate.add("warehouse", withdrawn_meanwhile)
    kept = Kept(gate, "ads", "support")

    result = await asyncio.to_thread(gate.push, track(**ALL))

    assert (result.delivered, result.withheld) == (("warehouse", "support"), {"ads": FILTERED})
    assert kept.called == ["support"]
    world.store.close()


def test_a_store_that_cannot_be_read_gives_no_gate(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store"):
        Gate.from_config(configured(tmp_path), store=tmp_path / "none.db")
    (tmp_path / "other.db").write_text("x" * 5000)
    with pytest.raises(StoreError):
        Gate.from_config(configured(tmp_path), store=tmp_path / "other.db")


class Failing(NoRecords):
    """Records that can be read a number of times."""

    def __init__(self, times: int) -> None:
        self.times = times

    def size(self) -> int:
        self.times -= 1
        if self.times < 0:
            raise StoreError("the disk is gone")
        return 0


def test_where_the_consent_state_cannot_be_read_nobody_is_called() -> None:
    gate, kept = gate_and_kept(records=Failing(1))
    with pytest.raises(StoreError):
        gate.decide(track(**ALL))
    with pytest.raises(StoreError):
        gate.push(track(**ALL))
    assert kept.called == []
    assert gate.counts.unreadable == 1


def test_where_it_can_no_longer_be_read_the_rest_is_not_called() -> None:
    gate, kept = gate_and_kept(records=Failing(3))

    result = gate.push(track(**ALL))

    assert result.delivered == ("warehouse",)
    assert {name: str(error) for name, error in result.failed.items()} == {
        "ads": "the disk is gone",
        "support": "the disk is gone",
    }
    assert kept.called == ["warehouse"]
