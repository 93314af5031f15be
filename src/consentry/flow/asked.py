"""Asked again: whether a stored event may go to a destination now.

An event goes only if it was allowed as of its acceptance and is allowed as of now. This is
the question before every attempt, every replay and every explanation of what is waiting.
"""

from __future__ import annotations

from dataclasses import replace

from consentry.core.decision import Decision, Question, Reason, decide
from consentry.core.event import PREFERENCE_UPDATE
from consentry.core.policy import Policy
from consentry.core.record import FactKind, NodeKind
from consentry.core.stamp import Stamp
from consentry.flow.world import World
from consentry.ports import StoredEvent


def decide_now(world: World, event: StoredEvent, destination: str) -> Decision | None:
    """The decision that holds at this instant; None when the destination is no longer there."""
    now = world.clock.now()
    standing = world.subjects.standing(event.nodes, world.policy, now)
    question = question_of_stored(world, event)
    decided = decide(world.policy, question, standing, [destination])
    if not decided:
        return None
    if decided[0].allow and not allowed_at_acceptance(world, event, destination):
        then = decide_then(world, event, destination)
        # What was withheld at acceptance stays withheld, whatever is read into that moment now.
        return then if then is not None and not then.allow else _withheld_then(destination)
    return decided[0]


def _withheld_then(destination: str) -> Decision:
    return Decision(destination, False, Reason.FILTERED)


def allowed_at_acceptance(world: World, event: StoredEvent, destination: str) -> bool:
    """What was decided then; for a destination that came later, what would have been."""
    policy = world.store.policy(event.policy_id)
    bit = None if policy is None else position_in(policy, destination)
    if bit is not None:
        return bool(event.allowed >> bit & 1)
    then = decide_then(world, event, destination)
    return then is not None and then.allow


def decide_then(world: World, event: StoredEvent, destination: str) -> Decision | None:
    """The decision as of acceptance, by the policy of that time where it knew the destination."""
    policy = world.store.policy(event.policy_id)
    if policy is None or position_in(policy, destination) is None:
        policy = world.policy
    standing = world.subjects.standing_as_of(event.nodes, policy, event.received_at)
    # Then it was the latest choice; whether it still is belongs to the question of now.
    question = replace(question_of_stored(world, event), superseded=False)
    decided = decide(policy, question, standing, [destination])
    return decided[0] if decided else None


def position_in(policy: Policy, destination: str) -> int | None:
    """The bit that a destination has in the masks of this policy."""
    for bit, mapping in enumerate(policy.mappings):
        if mapping.name == destination:
            return bit
    return None


def question_of_stored(world: World, event: StoredEvent) -> Question:
    """The question that a stored event poses, with whether its choice has been superseded."""
    update = event.type == "track" and event.name == PREFERENCE_UPDATE
    stamp = None
    if event.granted is not None:
        stamp = Stamp(frozenset(event.granted), frozenset(event.stated or ()))
    return Question(
        accepted_at=event.received_at,
        made_at=event.made_at,
        stamp=stamp,
        integrations=event.integrations,
        preference_update=update,
        regime=world.regimes.get(event.source),
        superseded=update and _superseded(world, event),
    )


def _superseded(world: World, event: StoredEvent) -> bool:
    """Whether the same person has chosen again since."""
    named = (node for node in event.nodes if node.kind in (NodeKind.DEVICE, NodeKind.ACCOUNT))
    return any(
        fact.kind is FactKind.CHOICE and fact.received_at > event.received_at
        for node in named
        for fact in world.subjects.facts(node)
    )
