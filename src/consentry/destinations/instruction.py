"""What a destination is handed of an order, and the words it answers in.

A destination that can be told of a choice exports, beside what it does with events:

* ``ORDERS``: the verbs it takes and what each can prove,
* ``obey(client, instructions, options, last_look) -> Attempted``: one attempt, thin,
* ``read_back(client, instruction, options, ref) -> Reading``, where it can be asked,
* ``hear(call, options) -> tuple[Heard, ...]``, where it calls us.

What ``obey`` sends and how it reads the answer are pure functions of its own, as for events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from consentry.core.delivery import Grade
from consentry.core.moment import Moment
from consentry.core.order import Verb
from consentry.core.record import Node


@dataclass(frozen=True, slots=True)
class Person:
    """Whom an order is about: every identifier that may be named to a destination.

    Each is sorted and holds nothing twice. Only what is proven to be this person's is here: an
    address that a public key has claimed is not. E-mail addresses and phone numbers (E.164)
    stand as they were recorded; what a vendor wants of them is the destination's business.
    """

    anonymous_ids: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Instruction:
    """One order, as a destination is handed it.

    ``verb`` is suppress, erase or grant; a gate is ours alone. ``whole``: the person's data
    categories changed, so that everything this destination does with them is meant. Otherwise
    ``topics`` names what changed, each a (topic, channel) that this destination carries.
    ``consent`` is the effective preference per category as of now. ``seq`` is the record's place
    in the ledger: of two instructions for a person the one with the larger ``seq`` is later.
    ``order_id`` stays the same over all attempts, for destinations that know an idempotency key.
    Times are RFC 3339 in UTC. ``expired``: nobody said no, but what was agreed to holds no longer.
    """

    order_id: str
    record_id: str
    seq: int
    verb: Verb
    person: Person
    whole: bool
    topics: tuple[tuple[str, str], ...]
    consent: Mapping[str, bool]
    made_at: str | None
    received_at: str
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Orders:
    """What a kind of destination can be told.

    ``verbs`` maps each verb it takes to the highest grade an attempt and its reading back can
    reach; a verb that is not here is gated. ``needs`` are the fields of `Person` by which it
    knows people: with none of them an order is gated too, since there is nobody to name.
    ``channels`` are those over which it reaches people; empty where it carries no topics.
    ``batch_max`` is the most instructions one attempt carries; they share verb, ``whole`` and
    ``topics``. ``cannot`` says in one sentence what an order leaves undone or unproven there.
    """

    verbs: Mapping[Verb, Grade]
    needs: frozenset[str]
    cannot: str
    channels: frozenset[str] = frozenset()
    batch_max: int = 1
    reads_back: bool = False
    hears: bool = False


class Found(StrEnum):
    """What a destination says it holds, beside what it was told."""

    EQUAL = "equal"
    DIFFERENT = "different"
    PENDING = "pending"  # its job is not done yet: ask again later
    UNKNOWN = "unknown"  # it does not know, or could not be asked


@dataclass(frozen=True, slots=True)
class Reading:
    """What asking again came to. ``grade`` is what EQUAL proves: confirmed, or job_done.

    ``detail`` is one line for a person, without personal data or secrets. The digest is the
    SHA-256 of the answer's body in lower-case hex, None where there was none.
    """

    found: Found
    grade: Grade = Grade.CONFIRMED
    detail: str = ""
    response_digest: str | None = None


class Unproven(Exception):
    """An inbound call without a valid signature. Nothing of it is believed."""


@dataclass(frozen=True, slots=True)
class InboundCall:
    """A vendor's call as it came. Header names are lower-case; ``url`` is as the vendor knows it."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    now: Moment


@dataclass(frozen=True, slots=True)
class Heard:
    """One thing a vendor told us of one identifier, proven by its signature.

    ``said`` is the vendor's own word, for the record. ``denied``: this was a refusal. A vendor's
    yes is noted and grants nothing. ``topics`` are those concerned; empty with ``channels``: that
    channel as a whole; both empty: everything this destination is for. ``event_id`` makes a
    repeated call the same one. ``at`` is None where the vendor states no time.
    """

    node: Node
    denied: bool
    said: str
    event_id: str
    at: Moment | None = None
    topics: tuple[tuple[str, str], ...] = ()
    channels: tuple[str, ...] = ()
