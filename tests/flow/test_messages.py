"""What is recorded of topics and channels, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from consentry.core.choice import Answer
from consentry.core.moment import SECOND
from consentry.core.policy import Category, Policy, Topic
from consentry.core.record import Node, NodeKind
from consentry.flow.configure import take_policy
from consentry.flow.explain import explain_topic
from consentry.flow.record_choice import answer_of, record_choice, suppress, withdrawal_of
from consentry.flow.records import Origin, Said
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.store.memory import MemoryStore
from tests.core.clauses import holds
from tests.store.makers import NOW, notary

ANN = Node(NodeKind.EMAIL, "ann@example.com")
BACKEND = Origin("backend", "server")
WHY = "Confirms what was bought: performance of the contract"
POLICY = Policy(
    "shop",
    categories=(Category("analytics"), Category("needed", essential=True)),
    topics=(
        Topic("news", "News", ("email", "sms")),
        Topic("orders", "Orders", ("email",), WHY),
    ),
)


class Clock:
    """A second later at every look."""

    def __init__(self) -> None:
        self.time = NOW

    def now(self) -> int:
        self.time += SECOND
        return self.time


@pytest.fixture
async def world() -> World:
    clock = Clock()
    store = MemoryStore(notary(), clock=clock.now)
    world = World(store, Subjects(store), clock, Policy("shop"), 0)  # type: ignore[arg-type]
    await take_policy(world, POLICY)
    return world


async def say(world: World, answer: Answer, origin: Origin = BACKEND) -> dict[str, Any]:
    now = world.clock.now()
    answered = await record_choice(world, Said((ANN,), answer, now, now), origin)
    return answered.body


def asked(world: World, topic: str, channel: str) -> tuple[str, str]:
    decided = explain_topic(world, (ANN,), topic, channel)
    return decided["decision"], decided["reason"]


YES = {"news": {"email": True, "sms": True}}


@holds("M4", "M5")
async def test_a_refused_channel_is_told_with_its_topics_and_is_on_the_ledger(world: World) -> None:
    await say(world, answer_of(None, YES))
    body = await say(world, answer_of(None, None, ["sms"]))

    assert body["unknown"] == []
    assert body["channels"]["sms"]["state"] == "denied"
    assert body["channels"]["sms"]["recordId"] == body["recordId"]
    assert body["channels"]["email"]["state"] == "never_collected"
    news = body["topics"]["news"]
    assert (news["sms"]["effective"], news["email"]["effective"]) == ("denied", "granted")
    entry = world.store.record(body["recordId"])
    assert entry is not None
    assert entry.record.before == {
        "topic:*:sms": "never_collected",
        "topic:news:sms": "granted",
    }
    assert entry.record.after == {"topic:*:sms": "denied", "topic:news:sms": "denied"}
    assert asked(world, "news", "sms") == ("withhold", "filtered_by_end_user_consent")

    again = await say(world, answer_of(None, {"news": {"sms": True}}))
    assert again["topics"]["news"]["sms"]["effective"] == "granted"
    assert asked(world, "news", "sms") == ("allow", "consented")


@holds("M5")
async def test_nobody_records_a_yes_to_a_whole_channel(world: World) -> None:
    body = await say(world, answer_of({"topic:*:sms": True}, {"*": {"email": True}}))

    assert body["unknown"] == ["topic:*:email", "topic:*:sms"]
    entry = world.store.record(body["recordId"])
    assert entry is not None
    assert all(not fact.granted for _, fact in entry.record.facts)
    assert asked(world, "news", "sms")[0] == asked(world, "news", "email")[0] == "withhold"


def test_what_an_answer_names_twice_is_refused_if_either_refuses_it() -> None:
    twice = answer_of(
        {"topic:news:sms": False}, {"news": {"sms": True}, "*": {"sms": True}}, ["sms"]
    )

    assert twice == Answer(frozenset(), frozenset({"topic:news:sms", "topic:*:sms"}))


@holds("M6")
async def test_to_withdraw_everything_refuses_every_topic_and_channel(world: World) -> None:
    everything = withdrawal_of(world, None, None)

    assert everything.denied == {
        "analytics",
        "topic:news:email",
        "topic:news:sms",
        "topic:*:email",
        "topic:*:sms",
    }
    assert withdrawal_of(world, None, None, ["sms"]).denied == {"topic:*:sms"}
    assert not everything.granted


@holds("M2", "M3")
async def test_a_transactional_topic_stays_until_its_subject_is_suppressed(world: World) -> None:
    body = await say(world, withdrawal_of(world, None, None))
    told = body["topics"]["orders"]["email"]

    assert (told["effective"], told["transactional"]) == ("granted", WHY)
    assert "transactional" not in body["topics"]["news"]["email"]
    decided = explain_topic(world, (ANN,), "orders", "email")
    assert (decided["decision"], decided["reason"]) == ("allow", "exempt")
    assert decided["grounds"] == [{"transactional": WHY}]

    await suppress(world, (ANN,), BACKEND, None, on=True)
    assert asked(world, "orders", "email") == ("withhold", "suppressed")


REFUSED: dict[str, Callable[[World], Answer]] = {
    "by name": lambda world: answer_of(None, None, ["sms"]),
    "with everything": lambda world: withdrawal_of(world, None, None),
    "as every topic": lambda world: answer_of(None, {"*": {"sms": False}}),
}


@holds("M4")
@pytest.mark.parametrize("way", REFUSED)
async def test_a_channel_that_was_refused_holds_for_a_topic_that_is_added(
    world: World, way: str
) -> None:
    await say(world, REFUSED[way](world))
    later = Policy("shop", categories=POLICY.categories, topics=(Topic("tips", "Tips", ("sms",)),))
    await take_policy(world, later)

    decided = explain_topic(world, (ANN,), "tips", "sms")
    assert decided["categories"] == [
        {"id": "topic:tips:sms", "effective": "denied", "why": "denied"}
    ]
