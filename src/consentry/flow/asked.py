"""Asked again: whether a stored event may go to a destination now.

An event goes only if it was allowed as of its acceptance and is allowed as of now. This is
the question before every attempt, every replay and every explanation of what is waiting.
"""

from __future__ import annotations

import msgspec

from consentry.core.decision import Decision, Decisions, Question, Reason, decide
from consentry.core.event import PREFERENCE_UPDATE
from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.preference import FOREVER, Standing
from consentry.core.record import FactKind, Node, NodeKind
from consentry.core.rule import Rule
from consentry.core.stamp import Stamp, stamp_of_written
from consentry.destinations.message import Message
from consentry.flow import describe
from consentry.flow.named import besides_in, names_erased
from consentry.flow.person import is_erased
from consentry.flow.told import holding
from consentry.flow.where import grant_ages_at, known_of_stored, rule_for, there
from consentry.flow.world import World
from consentry.ports import Positioned, StoredEvent


class Asked:
    """One stored event and what may be done with it now: found once for all its destinations.

    What was found holds for as long as policy, regimes, rule and standing are the same, and until
    a grant is too old for the rule. The standing is looked up again when time has made it
    another, when a record was written since, and always while one is on its way: nothing that is
    remembered outlives a denial.
    """

    __slots__ = (
        "_allows",
        "_consent",
        "_decisions",
        "_epoch",
        "_known",
        "_others",
        "_policy",
        "_regimes",
        "_rule",
        "_standing",
        "_until",
        "_world",
        "event",
        "is_update",
        "message",
    )

    def __init__(self, world: World, event: StoredEvent) -> None:
        self.event = event
        self.is_update = is_update(event)
        self.message: Message | None = None  # what destinations were told last
        self._world = world
        self._epoch = 0
        self._policy: Policy | None = None
        self._regimes: object = None
        self._standing: Standing | None = None
        self._known = known_of_stored(event)
        self._others = besides_in(
            event.body, event.nodes
        )  # an erasure of theirs came later than the event
        self._rule: Rule | None = None
        self._until: Moment = FOREVER  # when a grant will be too old for the law of the place
        self._allows: dict[str, bool] = {}
        self._decisions: Decisions | None = None
        self._consent: dict[str, bool] | None = None

    def look(self) -> tuple[Policy, Standing, Moment]:
        """What it is decided by now; forgets what was found by anything else."""
        world = self._world
        policy, regimes, subjects = world.policy, world.regimes, world.subjects
        now, epoch, standing = world.clock.now(), subjects.epoch, self._standing
        rule = rule_for(self._known, now)
        same = policy is self._policy and regimes is self._regimes and rule is self._rule
        same = same and now < self._until
        fresh = same and epoch and epoch == self._epoch
        if fresh and standing is not None and standing.holds_at(now):
            return policy, standing, now
        found = subjects.standing(self.event.nodes, policy, now)
        if found is not standing or not same:
            self._forget()
            self._until = grant_ages_at(rule, found, now)
        self._policy, self._regimes, self._rule = policy, regimes, rule
        self._standing, self._epoch = found, epoch
        return policy, found, now

    def allows(self, destination: str) -> bool:
        """Whether it may go there now; a choice that is shared is asked about afresh each time."""
        if self._others and is_erased(self._world, self._others):
            return False
        policy, standing, now = self.look()
        if self.is_update and shares(policy, destination):
            question = _question_now(self._world, policy, self.event, destination)
            return self._was_allowed(destination, decide(policy, question, standing))
        allowed = self._allows.get(destination)
        if allowed is None:
            if self._decisions is None:
                question = question_of_stored(self._world, policy, self.event, now)
                self._decisions = decide(policy, question, standing)
            allowed = self._allows[destination] = self._was_allowed(destination, self._decisions)
        return allowed

    def consent(self) -> dict[str, bool]:
        """What may be said of its own consent now. The same object while it is the same."""
        policy, standing, now = self.look()
        if self._consent is None:
            question = question_of_stored(self._world, policy, self.event, now)
            self._consent = holding(policy, question, standing)
        return self._consent

    def effective(self) -> dict[str, bool]:
        """What holds of the person now, for something done now: what a shared choice is told as."""
        policy, standing, now = self.look()
        regime = self._world.regimes.get(self.event.source)
        return describe.effective(policy, standing, now, regime, self._rule)

    def _was_allowed(self, destination: str, now: Decisions) -> bool:
        allowed = now.allows(destination)
        return allowed and allowed_at_acceptance(self._world, self.event, destination)

    def _forget(self) -> None:
        self._allows = {}
        self._decisions = self._consent = None


class Owed:
    """One event owed to one destination, asked about several times while it is tried.

    ``allowed`` is whether ``decide_now`` allows it, and says no more.
    """

    __slots__ = ("_world", "asked", "destination", "one")

    def __init__(self, world: World, one: Positioned, destination: str) -> None:
        self.one = one
        self.destination = destination
        self._world = world
        asked = world.asked.get(one.position)
        if asked is None or asked.event is not one.event:
            asked = Asked(world, one.event)
            world.asked.put(one.position, asked, len(one.event.body))
        self.asked: Asked = asked

    def allowed(self) -> bool:
        """Whether it may go now."""
        return self.asked.allows(self.destination)

    def consent(self) -> dict[str, bool]:
        """What may be said of its consent now: its own, or for a shared choice the person's."""
        return self.asked.effective() if self.is_shared_choice else self.asked.consent()

    @property
    def is_shared_choice(self) -> bool:
        """Whether the destination is told of this choice, whatever it says."""
        return self.asked.is_update and shares(self._world.policy, self.destination)


def decide_now(world: World, event: StoredEvent, destination: str) -> Decision | None:
    """The decision that holds at this instant; None when the destination is no longer there."""
    if event.erased or names_erased(world, event):
        return _erased(world.policy, destination)
    now = world.clock.now()
    standing = world.subjects.standing(event.nodes, world.policy, now)
    question = _question_now(world, world.policy, event, destination)
    decided = decide(world.policy, question, standing).of(destination)
    if decided is None:
        return None
    if decided.allow and not allowed_at_acceptance(world, event, destination):
        then = decide_then(world, event, destination)
        # What was withheld at acceptance stays withheld, whatever is read into that moment now.
        return then if then is not None and not then.allow else withheld_then(destination)
    return decided


def _erased(policy: Policy, destination: str) -> Decision | None:
    """Nobody may have what is left of somebody's event, nor one that names somebody erased."""
    known = destination in policy.mapping
    return Decision(destination, False, Reason.SUPPRESSED) if known else None


def withheld_then(destination: str) -> Decision:
    """It was withheld at acceptance, and what stands on record does not say why: a refusal that
    was never written, or a link that was on its way to the disk, counted at that moment."""
    return Decision(destination, False, Reason.FILTERED)


def allowed_at_acceptance(world: World, event: StoredEvent, destination: str) -> bool:
    """What was decided then; for a destination that came later, what would have been."""
    if event.erased:
        return False  # nobody is left whom it could be decided for
    policy = world.store.policy(event.policy_id)
    bit = None if policy is None else policy.places.get(destination)
    if bit is not None:
        return bool(event.allowed >> bit & 1)
    then = decide_then(world, event, destination)
    return then is not None and then.allow


def decide_then(world: World, event: StoredEvent, destination: str) -> Decision | None:
    """The decision as of acceptance, by the policy of that time where it knew the destination."""
    policy = world.store.policy(event.policy_id)
    if policy is None or destination not in policy.places:
        policy = world.policy
    if event.erased:
        return _erased(policy, destination)
    standing = world.subjects.standing_as_of(event.nodes, policy, event.received_at)
    question = question_of_stored(world, policy, event, event.received_at)
    return decide(policy, question, standing).of(destination)


def _question_now(world: World, policy: Policy, event: StoredEvent, destination: str) -> Question:
    question = question_of_stored(world, policy, event, world.clock.now())
    if question.preference_update and shares(world.policy, destination):
        return msgspec.structs.replace(question, superseded=_superseded(world, event))
    return question


def question_of_stored(world: World, policy: Policy, event: StoredEvent, at: Moment) -> Question:
    """The question that a stored event poses: as of its acceptance, when its choice was the
    latest, but under the rule of its place as of ``at``."""
    question = Question(
        accepted_at=event.received_at,
        made_at=event.made_at,
        stamp=stamp_of_stored(event),
        integrations=event.integrations,
        preference_update=is_update(event),
        regime=world.regimes.get(event.source),
    )
    if event.place is None:
        return question
    return there(policy, question, known_of_stored(event), at)


def stamp_of_stored(event: StoredEvent) -> Stamp | None:
    """The stamp of a stored event; None when it is unstamped."""
    return None if event.granted is None else stamp_of_written(event.granted, event.stated or ())


def is_update(event: StoredEvent) -> bool:
    """Whether the event is itself a choice."""
    return event.type == "track" and event.name == PREFERENCE_UPDATE


def shares(policy: Policy, destination: str) -> bool:
    """Whether the destination is told of choices."""
    mapping = policy.mapping.get(destination)
    return mapping is not None and mapping.share_consent


def _superseded(world: World, event: StoredEvent) -> bool:
    """Whether a later preference update of the same identifiers is there to be sent instead.

    A choice that came by another door sends nothing by itself, and neither does a repeated
    message: then this one still has to tell, and what it tells is what holds when it is sent.
    """
    named = {node for node in event.nodes if node.kind in (NodeKind.DEVICE, NodeKind.ACCOUNT)}
    later = {
        fact.record_id
        for node in named
        for fact in world.subjects.facts(node)
        if fact.kind is FactKind.CHOICE and fact.received_at > event.received_at
    }
    return any(_is_update_of(world, record_id, named) for record_id in later)


def _is_update_of(world: World, record_id: str, named: set[Node]) -> bool:
    entry = world.store.record(record_id)
    if entry is None or not named <= set(entry.record.subject):
        return False
    message_id = entry.record.evidence.get("messageId")
    if not isinstance(message_id, str):
        return False
    position = world.store.position_of(entry.record.source, message_id)
    update = None if position is None else world.store.event_at(position)
    return update is not None and update.record_id == record_id
