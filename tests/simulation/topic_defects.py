"""Seeded defects of topics, channels and questions: parts that break one promise each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from consentry.core.choice import Answer
from consentry.core.order import OrderState, Verb
from consentry.core.record import Fact, FactKind, Node
from consentry.destinations.instruction import Instruction
from consentry.destinations.message import Attempted, LastLook
from consentry.flow.explain import explain_topic
from consentry.flow.record_choice import withdrawal_of
from consentry.flow.world import World
from consentry.orders import Order
from consentry.ports import Commit, Committed
from tests.simulation.destination import Line
from tests.simulation.policies import MESSAGES, key_of
from tests.simulation.process import Parts
from tests.simulation.store import Disk

WHOLE_CHANNEL = key_of("*@")
TOPICS = frozenset(map(key_of, MESSAGES))


class LosesTopicOrders(Disk):
    """Writes what a choice owes of the person, and not what it owes of a topic."""

    async def commit(self, commit: Commit) -> Committed:
        kept = tuple(order for order in commit.orders if order.whole)
        return await super().commit(msgspec.structs.replace(commit, orders=kept))


class _LeavesOutTopics(Disk):
    """Orders of one verb about a topic are over before they were told."""

    verb: Verb

    async def commit(self, commit: Commit) -> Committed:
        orders = tuple(map(self._over, commit.orders))
        return await super().commit(msgspec.structs.replace(commit, orders=orders))

    def _over(self, order: Order) -> Order:
        if order.whole or order.verb is not self.verb:
            return order
        return msgspec.structs.replace(order, state=OrderState.SUPERSEDED, why="it was forgotten")


class TellsNoTopicNo(_LeavesOutTopics):
    """Keeps to itself that somebody wants no more news."""

    verb = Verb.SUPPRESS


class TellsNoTopicYes(_LeavesOutTopics):
    """Keeps to itself that somebody wants news again."""

    verb = Verb.GRANT


class _Rewrites(Disk):
    """Writes other facts than were said."""

    @abstractmethod
    def fact(self, fact: Fact) -> Fact:
        """What is written instead."""

    def _node(self, said: tuple[Node, Fact]) -> tuple[Node, Fact]:
        return said[0], self.fact(said[1])

    async def commit(self, commit: Commit) -> Committed:
        records = tuple(
            msgspec.structs.replace(record, facts=tuple(map(self._node, record.facts)))
            for record in commit.records
        )
        return await super().commit(msgspec.structs.replace(commit, records=records))


class ForgetsChannels(_Rewrites):
    """Writes down no refusal of a channel as a whole."""

    def fact(self, fact: Fact) -> Fact:
        denied = tuple(key for key in fact.denied if not key.startswith(WHOLE_CHANNEL))
        return msgspec.structs.replace(fact, denied=denied)


class OpensTheChannel(_Rewrites):
    """Takes a yes to one topic for a yes to all that is sent by its channel."""

    def fact(self, fact: Fact) -> Fact:
        ways = {key.rpartition(":")[2] for key in fact.granted if key in TOPICS}
        more = (key for key in TOPICS if key.rpartition(":")[2] in ways)
        granted = {*fact.granted, *more} - set(fact.denied)
        return msgspec.structs.replace(fact, granted=tuple(sorted(granted)))


class TakesImportsForAnswers(_Rewrites):
    """What was brought from elsewhere lifts what people have refused here."""

    def fact(self, fact: Fact) -> Fact:
        brought = fact.kind is FactKind.IMPORT
        return msgspec.structs.replace(fact, kind=FactKind.CHOICE) if brought else fact


class _Says(Line):
    """Tells something else than it was given."""

    @abstractmethod
    def instead(self, one: Instruction) -> Instruction:
        """What is told instead."""

    async def obey(self, told: Sequence[Instruction], last_look: LastLook | None) -> Attempted:
        return await super().obey([self.instead(one) for one in told], last_look)


class TellsAnotherTopic(_Says):
    """Names the newsletter whatever it is about."""

    def instead(self, one: Instruction) -> Instruction:
        return one if one.whole else replace(one, topics=(("news", one.topics[0][1]),))


class TellsTheWhole(_Says):
    """Takes a word about a topic for one about the person."""

    def instead(self, one: Instruction) -> Instruction:
        return replace(one, whole=True, topics=())


class CarriesEverything(Disk):
    """Owes each destination whatever topic the others are told of."""

    async def commit(self, commit: Commit) -> Committed:
        orders = tuple(
            order if order.whole else msgspec.structs.replace(order, destination="beta")
            for order in commit.orders
        )
        return await super().commit(msgspec.structs.replace(commit, orders=orders))


def _silence_is_yes(world: World, nodes: tuple[Node, ...], *pair: str) -> dict[str, Any]:
    """Nobody has said no."""
    answer = explain_topic(world, nodes, *pair)
    if any(one["why"] == "never_collected" for one in answer["categories"]):
        return answer | {"decision": "allow"}
    return answer


def _owed_to_anybody(world: World, nodes: tuple[Node, ...], *pair: str) -> dict[str, Any]:
    """What needs no consent goes to people of whom nothing may be kept, too."""
    answer = explain_topic(world, nodes, *pair)
    why = world.policy.transactional.get(key_of("@".join(pair)))
    return answer if why is None else answer | {"decision": "allow", "reason": "exempt"}


def _needs_consent(world: World, nodes: tuple[Node, ...], *pair: str) -> dict[str, Any]:
    """Asks for consent where none is needed."""
    answer = explain_topic(world, nodes, *pair)
    return answer | {"decision": "withhold"} if answer["reason"] == "exempt" else answer


def _gives_no_reason(world: World, nodes: tuple[Node, ...], *pair: str) -> dict[str, Any]:
    """Says of everybody that they have not agreed."""
    answer = explain_topic(world, nodes, *pair)
    refused = {"reason": "filtered_by_end_user_consent"}
    return answer | refused if answer["decision"] == "withhold" else answer


def _withdraws_categories(world: World, *named: Any) -> Answer:
    """Who withdraws everything may still be written to."""
    everything = named == (None, None, None)
    answer = withdrawal_of(world, *named)
    return Answer(frozenset(), answer.denied & set(world.policy.asked)) if everything else answer


TOPIC_DEFECTS: dict[str, Parts] = {
    **{
        one.__name__: Parts(disk=one)
        for one in (
            *(LosesTopicOrders, TellsNoTopicNo, TellsNoTopicYes, ForgetsChannels),
            *(OpensTheChannel, TakesImportsForAnswers, CarriesEverything),
        )
    },
    **{one.__name__: Parts(line=one) for one in (TellsAnotherTopic, TellsTheWhole)},
    "TakesSilenceForYes": Parts(explain_topic=_silence_is_yes),
    "WritesToTheSuppressed": Parts(explain_topic=_owed_to_anybody),
    "AsksForNeedlessConsent": Parts(explain_topic=_needs_consent),
    "GivesNoReason": Parts(explain_topic=_gives_no_reason),
    "WithdrawsCategoriesAlone": Parts(withdraw=_withdraws_categories),
}
