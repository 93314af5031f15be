"""The story of a sign-up: asked for by anybody, granted only by whoever reads the mailbox.

A form can be filled in with anyone's address. So it records that somebody asked, which grants
nothing, and sends one mail without any advertising. The link in it works once. What nobody
confirms in time has lapsed, and is on record as that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from consentry.core.choice import Answer
from consentry.core.moment import DAY, Moment
from consentry.core.record import Node
from consentry.core.rule import NOBODY_LOOKED, Place
from consentry.flow import describe
from consentry.flow.links import digest_of
from consentry.flow.once import KeyReused, Once
from consentry.flow.person import is_erased
from consentry.flow.record_choice import Answered, record_choice
from consentry.flow.records import Origin, Said, request_record
from consentry.flow.world import World
from consentry.ledger.entry import RecordType
from consentry.outbox import Mail, OptIn
from consentry.ports import Commit, Reply, StoreConflict

MOST_WAITING = 10_000  # mails; more means that nobody takes them, or that somebody floods us
MOST_AT_ONCE = 100
LINK = "link"  # the trust of who holds a link: it speaks for the address it was sent to
_CONFIRMED, _LAPSED = b"confirmed", b"lapsed"


class Fate(StrEnum):
    """What became of a form."""

    REQUESTED = "requested"
    SUPPRESSED = "suppressed"
    TOO_MANY = "too_many"  # mails to this address lately
    FULL = "full"  # of mails that nobody takes
    UNKNOWN = "unknown"  # an address that no record names


@dataclass(frozen=True, slots=True)
class SignUp:
    """A form as it was sent. ``keys`` are topic keys; ``notice`` is (SHA-256 in hex, text)."""

    node: Node
    keys: tuple[str, ...]
    origin: Origin
    received_at: Moment
    ends_at: Moment
    language: str
    evidence: dict[str, Any] = field(default_factory=dict)
    notice: tuple[str, str] | None = None


async def ask(world: World, sign_up: SignUp, most_a_day: int) -> Fate:
    """Record that somebody asked, and owe the address a mail. Raises StoreUnavailable."""
    node, now = sign_up.node, sign_up.received_at
    with _mailing(world, node):
        withheld = _withheld(world, node, now, most_a_day)
        if withheld is not None:
            return withheld
        evidence = {**sign_up.evidence, "action": "opt_in", "asked": list(sign_up.keys)}
        record = request_record(world, RecordType.REQUESTED, node, sign_up.origin, now, evidence)
        opt_in = OptIn(
            opt_in_id=world.new_id("opt"),
            node=node,
            keys=sign_up.keys,
            requested_at=now,
            ends_at=sign_up.ends_at,
            record_id=record.record_id,
            source=sign_up.origin.source,
            language=sign_up.language,
            evidence=sign_up.evidence,
        )
        mail = _mail(world, "confirm", node, sign_up.language, now, opt_in.opt_in_id)
        notices = () if sign_up.notice is None else (sign_up.notice,)
        commit = Commit(records=(record,), notices=notices, opt_ins=(opt_in,), mails=(mail,))
        await world.store.commit(commit)  # without facts it touches no standing
    return Fate.REQUESTED


async def ask_for_link(
    world: World, node: Node, language: str, now: Moment, most_a_day: int
) -> Fate:
    """Owe an address that is on record a link to its choices. Raises StoreUnavailable."""
    if not world.store.knows(node):
        return Fate.UNKNOWN
    with _mailing(world, node):
        withheld = _withheld(world, node, now, most_a_day)
        if withheld is not None:
            return withheld
        mail = _mail(world, "edit", node, language, now, None)
        await world.store.commit(Commit(mails=(mail,)))
    return Fate.REQUESTED


@contextmanager
def _mailing(world: World, node: Node) -> Iterator[None]:
    """Counts what is on its way to the disk, which the store cannot count yet."""
    world.mailing[node] += 1
    try:
        yield
    finally:
        world.mailing[node] -= 1
        if not world.mailing[node]:
            del world.mailing[node]


def _withheld(world: World, node: Node, now: Moment, most_a_day: int) -> Fate | None:
    """Why an address gets no mail. ``now``'s own is counted as on its way."""
    if world.subjects.standing((node,), world.policy, now).suppressed:
        return Fate.SUPPRESSED
    outbox = world.store.outbox
    if outbox.mails_to(node, now - DAY) + world.mailing[node] > most_a_day:
        return Fate.TOO_MANY
    if outbox.waiting() + world.mailing.total() > MOST_WAITING:
        return Fate.FULL
    return None


def _mail(
    world: World, kind: Any, node: Node, language: str, now: Moment, opt_in_id: str | None
) -> Mail:
    return Mail(
        mail_id=world.new_id("mail"),
        kind=kind,
        node=node,
        language=language,
        queued_at=now,
        next_at=now,
        opt_in_id=opt_in_id,
    )


# -- the link in the mail ---------------------------------------------------------------------
class Link(StrEnum):
    """What a confirmation link is worth."""

    OPEN = "open"
    USED = "used"
    ENDED = "ended"
    UNKNOWN = "unknown"


def look_up(world: World, token: str, now: Moment) -> tuple[Link, OptIn | None]:
    """What a confirmation link would confirm. Changes nothing."""
    opt_in_id = world.store.outbox.opt_in_for(digest_of(token))
    if opt_in_id is None:
        return Link.UNKNOWN, None
    ended = world.store.reply_to(_end(opt_in_id))
    if ended is not None:
        return (Link.USED if ended.digest == _CONFIRMED else Link.ENDED), None
    opt_in = world.store.outbox.opt_in(opt_in_id)
    if opt_in is None or opt_in.ends_at <= now or not _known(world, opt_in):
        return Link.ENDED, None
    if is_erased(world, (opt_in.node,)):
        return Link.ENDED, None
    return Link.OPEN, opt_in


async def confirm(
    world: World,
    token: str,
    now: Moment,
    evidence: dict[str, Any],
    notice: tuple[str, str] | None = None,
    place: Place = NOBODY_LOOKED,
) -> tuple[Link, Answered | None]:
    """Grant what was asked for, once. ``evidence`` is of the page that asked to confirm.

    The answer is OPEN where it was open until now. Raises StoreUnavailable.
    """
    link, opt_in = look_up(world, token, now)
    if opt_in is None:
        return link, None
    said = Said(
        subject=(opt_in.node,),
        answer=Answer(frozenset(_known(world, opt_in)), frozenset()),
        received_at=now,
        made_at=now,
        evidence={
            **opt_in.evidence,
            **evidence,
            "action": "confirm",
            "surface": "form",
            "requestedAt": describe.time(opt_in.requested_at),
            "confirmedAt": describe.time(now),
            "requestRecordId": opt_in.record_id,
        },
    )
    once = Once(_end(opt_in.opt_in_id), _CONFIRMED)
    try:
        answered = await record_choice(
            world, said, Origin(opt_in.source, LINK, place=place), once=once, notice=notice
        )
    except KeyReused:
        return Link.ENDED, None
    except StoreConflict:  # it lapsed at the same moment
        return look_up(world, token, now)[0], None
    await world.store.outbox.end_opt_in(opt_in.opt_in_id)
    return (Link.USED, None) if answered.again else (Link.OPEN, answered)


async def lapse(world: World, now: Moment) -> int:
    """End what nobody confirmed in time; how many did lapse. Raises StoreUnavailable."""
    lapsed = 0
    for opt_in in world.store.outbox.opt_ins_ending(now, MOST_AT_ONCE):
        erased = is_erased(world, (opt_in.node,))  # then nothing is put on record of them
        if not erased and world.store.reply_to(_end(opt_in.opt_in_id)) is None:
            lapsed += await _record_lapse(world, opt_in, now)
        await world.store.outbox.end_opt_in(opt_in.opt_in_id)
    return lapsed


async def _record_lapse(world: World, opt_in: OptIn, now: Moment) -> bool:
    origin = Origin(opt_in.source, "admin")
    evidence = {"requestRecordId": opt_in.record_id, "asked": list(opt_in.keys)}
    record = request_record(world, RecordType.LAPSED, opt_in.node, origin, now, evidence)
    reply = Reply(_end(opt_in.opt_in_id), _LAPSED, 410, b"")
    try:
        await world.store.commit(Commit(records=(record,), replies=(reply,)))
    except StoreConflict:  # it was confirmed at the last moment
        return False
    return True


def _known(world: World, opt_in: OptIn) -> tuple[str, ...]:
    """Those of its topics that there still are, and that the address has not refused since, by
    themselves or with the whole channel."""
    refused: set[str] = set()
    for fact in world.subjects.facts(opt_in.node):
        if fact.received_at >= opt_in.requested_at:
            refused.update(fact.denied)
    known = world.policy.category.keys() - set(world.policy.reached(refused))
    return tuple(key for key in opt_in.keys if key in known)


def _end(opt_in_id: str) -> str:
    """How a sign-up ended is kept under one key: it can end once."""
    return f"opt-in/{opt_in_id}"
