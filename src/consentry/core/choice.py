"""A choice becomes facts: one per identifier, each with what its asker may say there."""

from __future__ import annotations

from dataclasses import dataclass

from consentry.core.event import Event, normal_email, normal_phone
from consentry.core.moment import Moment
from consentry.core.policy import Policy
from consentry.core.record import Fact, FactKind, Node, NodeKind
from consentry.core.stamp import Invalid

_DEVICE, _ACCOUNT = NodeKind.DEVICE, NodeKind.ACCOUNT


@dataclass(frozen=True, slots=True)
class Asker:
    """Who speaks. ``trusted`` is a server source; ``proven_user`` is named by a subject token."""

    trusted: bool
    proven_user: str | None = None

    def may_grant(self, node: Node) -> bool:
        """Rule 3: a public source speaks for the device it runs on, and for nobody else."""
        if self.trusted or node.kind is NodeKind.DEVICE:
            return True
        return node.kind is NodeKind.ACCOUNT and node.value == self.proven_user


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, per category or topic key. ``missing`` were left out, and count as no."""

    granted: frozenset[str]
    denied: frozenset[str]
    missing: frozenset[str] = frozenset()

    @property
    def refusals(self) -> Answer:
        """Only the denials: all that is left of an answer that comes a second time."""
        return Answer(frozenset(), self.denied, self.missing)


def answer_of_update(event: Event, policy: Policy) -> Answer:
    """A preference update states every category: one that it leaves out is denied."""
    stamp = event.stamp
    stated = frozenset() if stamp is None else stamp.stated
    granted = frozenset() if stamp is None else stamp.granted
    missing = frozenset(policy.asked) - stated
    return Answer(granted, (stated - granted) | missing, missing)


def subject_of(event: Event) -> tuple[Node, ...]:
    """The identifiers that a choice in this event speaks for: its device and its account."""
    device, account = event.anonymous_id, event.user_id
    if account is None:
        return () if device is None else (Node(_DEVICE, device),)
    if device is None:
        return (Node(_ACCOUNT, account),)
    return Node(_DEVICE, device), Node(_ACCOUNT, account)


def nodes_named(
    anonymous_id: str | None, user_id: str | None, email: str | None, phone: str | None
) -> tuple[Node, ...]:
    """Identifiers that a person is named by, normalised.

    Raises Invalid when there is none, or when an address is no address.
    """
    found = [] if anonymous_id is None else [Node(NodeKind.DEVICE, anonymous_id)]
    if user_id is not None:
        found.append(Node(NodeKind.ACCOUNT, user_id))
    if email is not None:
        found.append(Node(NodeKind.EMAIL, _normal("email", normal_email(email))))
    if phone is not None:
        found.append(Node(NodeKind.PHONE, _normal("phone", normal_phone(phone))))
    if not found:
        raise Invalid("subject", "subject needs at least one identifier", "missing_id")
    return tuple(found)


def _normal(field: str, value: str | None) -> str:
    if value is None:
        raise Invalid(f"subject.{field}", f"{field} is not valid")
    return value


def facts_of(
    answer: Answer,
    subject: tuple[Node, ...],
    asker: Asker,
    policy: Policy,
    *,
    record_id: str,
    received_at: Moment,
    made_at: Moment | None,
    kind: FactKind = FactKind.CHOICE,
) -> dict[Node, Fact]:
    """The facts of one answer.

    A grant for a category that the workspace does not have is left out: were the category
    created later, nobody would have been asked about it. A denial is kept.
    """
    known = policy.category
    granted = tuple(sorted(c for c in answer.granted if c in known))
    return {
        node: Fact(
            kind=kind,
            record_id=record_id,
            received_at=received_at,
            made_at=made_at,
            granted=granted,
            denied=tuple(sorted(answer.denied)),
            missing=tuple(sorted(answer.missing)),
            proven=asker.may_grant(node),
        )
        for node in subject
    }
