"""The one decision: for one event and each destination, allow or withhold, and why.

Everything that sends asks ``decide``; nothing decides anywhere else. The tests are asked
in the order of spec/enforcement.md, and the first that applies gives the reason.

Past the categories that are granted, a decision depends on the policy alone. So what holds for
all destinations is worked out once for each set of granted categories (a ``Ruling``), and a
decision costs the same for five destinations and for a hundred. Its verdicts and their grounds,
which are the subject's own, are worked out when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from consentry.core.event import Event, narrowed
from consentry.core.policy import (
    Category,
    Mapping,
    Match,
    Policy,
    Regime,
    Unmapped,
    topic_key,
)
from consentry.core.preference import Standing, Why
from consentry.core.verdict import (
    Ground,
    Judged,
    Question,
    Verdict,
    granted,
    layers,
    verdict,
    verdicts,
)

if TYPE_CHECKING:
    pass

__all__ = [
    "Decision",
    "Decisions",
    "Ground",
    "Question",
    "Reason",
    "Ruling",
    "Verdict",
    "decide",
    "decide_message",
    "granted",
    "question_of",
    "verdict",
    "verdicts",
]

MOST_RULINGS = 4096
"""How many are kept for one policy: senders choose which categories are granted."""


class Reason(StrEnum):
    """The test that decided, in the order in which the tests are asked."""

    SUPPRESSED = "suppressed"
    DESTINATION_DISABLED = "destination_disabled"
    PREFERENCE_UPDATE = "preference_update"
    INTEGRATIONS_OBJECT = "integrations_object"
    EXEMPT = "exempt"
    UNMAPPED = "unmapped"
    PROHIBITED = "prohibited"
    CONSENTED = "consented"
    FILTERED = "filtered_by_end_user_consent"


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or withhold, with the reason, the categories that decided, and their grounds."""

    destination: str
    allow: bool
    reason: Reason
    verdicts: tuple[Verdict, ...] = ()

    @property
    def grounds(self) -> tuple[Ground, ...]:
        return tuple(dict.fromkeys(verdict.ground for verdict in self.verdicts))


class Ruled(NamedTuple):
    """One destination in a ruling; ``deciding`` are the categories that decided."""

    destination: str
    allow: bool
    reason: Reason
    deciding: tuple[str, ...] = ()


class Ruling:
    """What holds for each destination of a policy. ``allowed`` has the bit of each that is."""

    __slots__ = ("allowed", "each")

    def __init__(self, each: tuple[Ruled, ...]) -> None:
        self.each = each
        self.allowed = sum(1 << n for n, ruled in enumerate(each) if ruled.allow)


class Decisions(Sequence[Decision]):
    """The decisions about one event, one for each mapping of the policy, in its order.

    ``allowed`` has the bit of each destination that may receive it. A Decision with its
    verdicts is made when it is asked for.
    """

    __slots__ = ("_asked", "allowed", "ruling")

    def __init__(self, ruling: Ruling, asked: tuple[Policy, Question, Standing]) -> None:
        self.ruling = ruling
        self.allowed = ruling.allowed
        self._asked = asked

    def of(self, destination: str) -> Decision | None:
        """The one about this destination; None when the policy does not have it."""
        place = self._asked[0].places.get(destination)
        return None if place is None else self[place]

    def allows(self, destination: str) -> bool:
        """Whether this destination is one of those that may receive it."""
        place = self._asked[0].places.get(destination)
        return place is not None and bool(self.allowed >> place & 1)

    @overload
    def __getitem__(self, index: int) -> Decision: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Decision, ...]: ...
    def __getitem__(self, index: int | slice) -> Decision | tuple[Decision, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        return _explained(self.ruling.each[index], Judged(*self._asked))

    def __iter__(self) -> Iterator[Decision]:
        judged = Judged(*self._asked)
        return (_explained(ruled, judged) for ruled in self.ruling.each)

    def __len__(self) -> int:
        return len(self.ruling.each)


def _explained(ruled: Ruled, judged: Judged) -> Decision:
    destination, allow, reason, deciding = ruled
    return Decision(destination, allow, reason, tuple(map(judged.verdict, deciding)))


def question_of(
    event: Event,
    regime: Regime | None = None,
    *,
    superseded: bool = False,
) -> Question:
    """The question that an event poses, before anybody has looked where it comes from."""
    return Question(
        event.received_at,
        event.made_at,
        event.stamp,
        event.integrations,
        event.is_preference_update,
        regime,
        superseded=superseded,
    )


def decide(policy: Policy, question: Question, standing: Standing) -> Decisions:
    """Decide for each destination."""
    asked = (policy, question, standing)
    if standing.suppressed:
        return Decisions(_ruling(policy, "suppressed", _suppressed), asked)
    granted = layers(policy, question, standing).granted & policy.needed
    if not (question.integrations or question.preference_update or question.prohibited):
        ruling = policy.rulings.get(granted)
        return Decisions(ruling or _ruling(policy, granted, _plainly), asked)
    place = (
        granted,
        question.prohibited,
        question.preference_update,
        question.superseded,
        _kept_away(policy, question.integrations) if question.integrations else 0,
    )
    return Decisions(_ruling(policy, place, _ruled), asked)


def decide_message(
    policy: Policy, question: Question, standing: Standing, topic: str, channel: str
) -> Decision:
    """Whether a topic may be sent to this subject by a channel (M1 to M4, in this order).

    Its ``destination`` is the topic's key. One that the workspace does not have nobody granted.
    """
    key = topic_key(topic, channel)
    if standing.suppressed:
        return Decision(key, False, Reason.SUPPRESSED)
    judged = verdict(policy, question, standing, key)
    why = policy.transactional.get(key)
    if why is not None and standing.whole:
        needless = Verdict(key, True, None, Ground("transactional", why))
        return Decision(key, True, Reason.EXEMPT, (needless,))
    if why is not None:
        block = standing.of(key).block
        record_id = "" if block is None else block.record_id
        judged = Verdict(key, False, Why.CONFLICT, Ground("recordId", record_id))
    reason = Reason.CONSENTED if judged.granted else Reason.FILTERED
    return Decision(key, judged.granted, reason, (judged,))


def _ruling(policy: Policy, place: Any, ruled: Any) -> Ruling:
    """The ruling for this combination, worked out at most once while it is remembered."""
    known: dict[Any, Ruling] = policy.rulings
    ruling = known.get(place)
    if ruling is None:
        if len(known) >= MOST_RULINGS:
            known.clear()
        each = (ruled(policy, mapping, place) for mapping in policy.mappings)
        ruling = known[place] = Ruling(tuple(each))
    return ruling


def _kept_away(policy: Policy, integrations: Dict[str, Any]) -> int:
    """The destinations that an integrations object keeps an event from, as their bits."""
    names = policy.places if integrations.get("All") is False else integrations
    found = 0
    for name in names:
        place = policy.places.get(name)
        if place is not None and narrowed(integrations, name):
            found |= 1 << place
    return found


def _suppressed(policy: Policy, mapping: Mapping, place: str) -> Ruled:
    return Ruled(mapping.name, False, Reason.SUPPRESSED)


def _plainly(policy: Policy, mapping: Mapping, granted: int) -> Ruled:
    """Where nothing but consent is asked: most events."""
    return _ruled(policy, mapping, (granted, frozenset(), False, False, 0))


def _ruled(
    policy: Policy, mapping: Mapping, place: tuple[int, frozenset[str], bool, bool, int]
) -> Ruled:
    """One destination: the tests in their order."""
    granted, prohibited, preference_update, superseded, kept_away = place
    name = mapping.name
    if not mapping.enabled:
        return Ruled(name, False, Reason.DESTINATION_DISABLED)
    if preference_update and mapping.share_consent:
        return Ruled(name, not superseded, Reason.PREFERENCE_UPDATE)
    if kept_away >> policy.places[name] & 1:
        return Ruled(name, False, Reason.INTEGRATIONS_OBJECT)
    needed = _needed(policy, mapping)
    if not needed:
        return _unmapped(policy, mapping)
    forbidden = tuple(c.id for c in needed if c.id in prohibited)
    if forbidden:
        return Ruled(name, False, Reason.PROHIBITED, forbidden)
    return _by_consent(policy, mapping, needed, granted)


def _needed(policy: Policy, mapping: Mapping) -> list[Category]:
    """Mapped categories that are turned on. One the workspace does not have stays needed."""
    known = policy.category
    found = (known.get(c) or Category(c) for c in mapping.categories)
    return [category for category in found if category.enabled]


def _unmapped(policy: Policy, mapping: Mapping) -> Ruled:
    if mapping.exempt:
        return Ruled(mapping.name, True, Reason.EXEMPT)
    allow = policy.settings.unmapped is Unmapped.ALLOW
    return Ruled(mapping.name, allow, Reason.UNMAPPED)


def _by_consent(policy: Policy, mapping: Mapping, needed: list[Category], granted: int) -> Ruled:
    bits = policy.bits
    agreed = [c for c in needed if bits[c.id] & granted]
    failed = [c for c in needed if not bits[c.id] & granted]
    if mapping.match is Match.ANY and not all(c.essential for c in needed):
        # An essential category alone is no consent.
        agreed = [c for c in agreed if not c.essential]
        allow = bool(agreed)
    else:
        allow = not failed
    if allow:
        return Ruled(mapping.name, True, Reason.CONSENTED, tuple(c.id for c in agreed))
    return Ruled(mapping.name, False, Reason.FILTERED, tuple(c.id for c in failed))
