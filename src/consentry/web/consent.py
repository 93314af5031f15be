"""The consent API: choices, withdrawal, subjects and suppression (spec/api.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request

from consentry.core.choice import Answer
from consentry.core.event import made_at, read_time
from consentry.core.moment import Moment
from consentry.core.policy import AccountChoices, Policy
from consentry.core.preference import Block, Found, Grant, Standing, Why
from consentry.core.record import FactKind, Node, NodeKind
from consentry.core.stamp import Invalid
from consentry.flow import describe
from consentry.flow.once import KeyReused, Once
from consentry.flow.reading import Reading
from consentry.flow.record_choice import (
    Answered,
    answer_of,
    record_choice,
    withdrawal_of,
)
from consentry.flow.records import Origin, Said
from consentry.jurisdictions import rule_of
from consentry.ledger.entry import RecordType
from consentry.ports import StoreUnavailable
from consentry.web import bodies
from consentry.web.arriving import read_body
from consentry.web.call import Asked, Call, Reply
from consentry.web.evidence import evidence_of, notice_in
from consentry.web.ingest import read_gpc, tell_record
from consentry.web.problems import Problem, json_response, whole_number
from consentry.web.renewal import renew
from consentry.web.site import ADMIN, CHOICES, Site, request_key

LARGEST_BODY = 64 * 1024
HISTORY_PAGE = 100
SENT_AT = "consentry-sent-at"
NOTHING_ASKED = QueryParams()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: ``origin`` with trust public, server or admin."""

    origin: Origin

    @property
    def trusted(self) -> bool:
        return self.origin.trust != "public"

    def may_read(self, nodes: tuple[Node, ...]) -> bool:
        """A public key reads the device it runs on, and the account that its token proves."""
        return self.readable(nodes) == nodes

    def readable(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """Those of the identifiers that ``may_read`` allows."""
        if self.trusted:
            return nodes
        proven = self.origin.proven_user
        return tuple(
            node
            for node in nodes
            if node.kind is NodeKind.DEVICE
            or (node.kind is NodeKind.ACCOUNT and node.value == proven)
        )


def caller(site: Site, request: Asked, body_key: str | None, lane: str = CHOICES) -> Caller:
    """Admin, server or public, by the key. Raises Problem 401, 400, 403 or 429."""
    source = site.known_source(request) if body_key is None else None
    if source is None:
        key = request_key(request)
        if key is not None and site.is_admin(key):
            return Caller(ADMIN)
        source = site.tracking_source(request, body_key)
    if source is None:
        raise Problem(401, "unknown_key", "no source has this key", authenticate=True)
    site.check_origin(source, request)
    site.check_rate(source, 1, lane)
    return Caller(site.origin_of(source, request, site.world.clock.now()))


def trusted_caller(site: Site, request: Asked) -> Caller:
    """A server source or the admin. Raises Problem 401 or 403."""
    who = caller(site, request, None)
    if not who.trusted:
        raise Problem(403, "forbidden", "a public write key may not do this")
    return who


async def post_consent(site: Site, request: Call) -> Reply:
    """POST /v1/consent."""
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    body = bodies.read_bytes(raw, bodies.Consent)
    who = caller(site, request, body.write_key)
    answer = answer_of(body.preferences, body.topics, bodies.refused(body.channels))
    if not body.preferences and not body.topics and not body.channels:
        raise Problem(400, "empty_choice", "name at least one category or topic", "preferences")
    claimed = moment_of(body.timestamp, "timestamp")
    # A repetition has the body it had, so it says beside it when it leaves.
    left = moment_of(request.headers.get(SENT_AT), "Consentry-Sent-At")
    sent = moment_of(body.sent_at, "sentAt") if left is None else left
    kept = _kept(site, request, who, body.evidence, "api")
    said = _said(site, body.subject, answer, kept, claimed, sent)
    reply = await _record(site, request, raw, who, said, body.evidence)
    return renew(site, request, reply, body.subject.anonymous_id or "")


async def post_withdraw(site: Site, request: Call) -> Reply:
    """POST /v1/consent/withdraw."""
    raw = await read_body(request, LARGEST_BODY, site.choice_room)
    body = bodies.read_bytes(raw, bodies.Withdraw)
    who = caller(site, request, body.write_key)
    answer = withdrawal_of(site.world, body.categories, body.topics, body.channels)
    if not answer.denied:
        raise Problem(400, "empty_choice", "name at least one category or topic", "categories")
    kept = _kept(site, request, who, body.evidence, "withdraw")
    said = _said(site, body.subject, answer, kept, None, None)
    return await _record(site, request, raw, who, said, body.evidence)


def _kept(
    site: Site, request: Call, who: Caller, evidence: bodies.Evidence | None, action: str
) -> dict[str, Any]:
    now = site.world.clock.now()
    kept = evidence_of(site, request, evidence, public=not who.trusted, now=now)
    return {"action": action, **kept}


def _said(
    site: Site,
    subject: bodies.Subject,
    answer: Answer,
    evidence: dict[str, Any],
    claimed: Moment | None,
    sent: Moment | None,
) -> Said:
    now = site.world.clock.now()
    return Said(
        subject=subject.nodes(),
        answer=answer,
        received_at=now,
        made_at=made_at(claimed, sent, now),
        claimed_at=claimed,
        evidence=evidence,
    )


async def _record(
    site: Site,
    request: Call,
    raw: bytes,
    who: Caller,
    said: Said,
    evidence: bodies.Evidence | None,
) -> Reply:
    once = once_of(request, who, raw)
    gpc = None if who.trusted else read_gpc(request)
    try:
        answered = await record_choice(
            site.world,
            said,
            who.origin,
            once=once,
            notice=notice_in(site, evidence, who.origin),
            gpc=gpc,
        )
    except KeyReused:
        message = "this Idempotency-Key was used with another body; use a new key"
        raise Problem(409, "key_reused", message) from None
    except StoreUnavailable:
        raise unavailable() from None
    tell_choice(site, answered, RecordType.CHOICE)
    body = _shown(site, who, said, answered)
    return json_response(body, 200 if answered.again else 201)


def _shown(site: Site, who: Caller, said: Said, answered: Answered) -> dict[str, Any]:
    """The reply without what this caller may not read.

    Anybody may say no for anybody, so the reply to it may not tell what that person chose. It
    tells of the named identifiers that the caller may read, else only of what was said. To a
    public key it names no order: how many there are says what stood before. So it
    is on a repetition too: the first request may have come with a token.
    """
    body = answered.body
    readable = who.readable(said.subject)
    if who.trusted:
        return body
    body = {**body, "orders": []}
    if answered.alone and readable == said.subject:
        return body
    policy, at = site.world.policy, read_time(body["receivedAt"], "receivedAt")
    if readable:
        standing = site.world.subjects.alone(readable, policy, at)
    else:
        standing = _only_said(policy, said.answer, body["recordId"], at)
    regime, rule = site.world.regimes.get(who.origin.source), rule_of(who.origin.place, at)
    return {
        **body,
        "preferences": describe.preferences(policy, standing, at, regime, rule),
        "topics": describe.topics(policy, standing, at),
        "channels": describe.channels(policy, standing),
    }


def _only_said(policy: Policy, answer: Answer, record_id: str, at: Moment) -> Standing:
    """What one answer of an unproven caller comes to: a no counts.

    A yes is unverified, unless the workspace takes choices as they come.
    """
    yes = Found(silent=Why.UNVERIFIED)
    if policy.settings.account_choices is AccountChoices.AS_GIVEN:
        yes = Found(grant=Grant(record_id, at, at), covers_from=at)
    found = dict.fromkeys(answer.granted, yes)
    for key in policy.reached(answer.denied):
        found[key] = Found(block=Block(record_id, at, Why.DENIED))
    return Standing(at, found=found)


def tell_choice(site: Site, answered: Answered, type_: RecordType) -> None:
    """Count what was recorded, once, and show it to whoever watches."""
    if answered.again:
        return
    site.meters.choices.labels(type_).inc()
    site.meters.count_notices(answered.tallies)
    for signal in answered.signals:
        site.meters.choices.labels(signal.type).inc()
    if answered.body["unknown"]:
        site.meters.unknown_categories.inc()
    if not site.world.feed.watched:
        return
    for signal in answered.signals:
        tell_record(site, signal)
    entry = site.world.store.record(answered.body["recordId"])
    if entry is not None:
        tell_record(site, entry.record)


def once_of(request: Asked, who: Caller, raw: bytes) -> Once | None:
    """Its Idempotency-Key, of this door alone. Raises Problem 400."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not 1 <= len(key) <= 200:
        message = "Idempotency-Key has 1 to 200 characters"
        raise Problem(400, "invalid_key", message, "Idempotency-Key")
    scope = f"{who.origin.trust}/{who.origin.source}"
    path: str = request.scope["path"]
    digest = hashlib.sha256(path.encode() + b"\0" + raw).digest()
    return Once(f"{scope}/{key}", digest)


def moment_of(value: str | None, field: str) -> Moment | None:
    """A claimed time. Raises Problem 400."""
    if value is None:
        return None
    try:
        return read_time(value, field)
    except Invalid as error:
        raise Problem(400, error.code, error.message, error.field) from None


def unavailable() -> Problem:
    """Nothing could be written."""
    message = "the store cannot be written; nothing was recorded"
    return Problem(503, "unavailable", message, retry_after_s=2)


# -- subjects ---------------------------------------------------------------------------------
async def get_subject(site: Site, request: Asked) -> Reply:
    """GET /v1/subjects/{user_id:ID|anonymous_id:ID}."""
    named: str = request.scope["path"].removeprefix("/v1/subjects/")
    kind, _, value = named.partition(":")
    kinds = {"user_id": NodeKind.ACCOUNT, "anonymous_id": NodeKind.DEVICE}
    if kind not in kinds or not value:
        raise Problem(404, "not_found", "name the subject as user_id:ID or anonymous_id:ID")
    who = caller(site, request, None)
    query = request.scope["query_string"]
    asked = QueryParams(query) if query else NOTHING_ASKED
    history = asked.get("history", "").lower() in ("true", "1")
    return _subject(site, who, (Node(kinds[kind], value),), history, asked.get("cursor"))


async def post_lookup(site: Site, request: Request) -> Reply:
    """POST /v1/subjects/lookup: as GET, for identifiers that may not stand in a URL."""
    body = bodies.read_bytes(
        await read_body(request, LARGEST_BODY, site.choice_room), bodies.Lookup
    )
    who = caller(site, request, body.write_key)
    return _subject(site, who, body.subject.nodes(), body.history, body.cursor)


def _subject(
    site: Site, who: Caller, nodes: tuple[Node, ...], history: bool, cursor: str | None
) -> Reply:
    if not who.may_read(nodes):
        raise Problem(403, "forbidden", "this key may not read that subject")
    world = site.world
    now = world.clock.now()
    # A public key learns of nothing that it did not name: not even which account is linked.
    reading = world.subjects.reading()
    if who.trusted:
        standing = world.subjects.standing(nodes, world.policy, now)
        shown = tuple(world.subjects.linked(nodes))
    else:
        standing, shown = world.subjects.alone(nodes, world.policy, now, reading), nodes
    regime, rule = world.regimes.get(who.origin.source), rule_of(who.origin.place, now)
    body: dict[str, Any] = {
        "subject": {
            "anonymousIds": _values(shown, NodeKind.DEVICE),
            "userId": next(iter(_values(shown, NodeKind.ACCOUNT)), None),
        },
        "preferences": describe.preferences(world.policy, standing, now, regime, rule),
        "topics": describe.topics(world.policy, standing, now),
        "channels": describe.channels(world.policy, standing),
        "signals": _signals(reading, nodes),
        "suppressed": standing.suppressed,
    }
    if history:
        body["history"], body["next"] = _history(site, shown, cursor)
    return json_response(body)


def _values(nodes: tuple[Node, ...], kind: NodeKind) -> list[str]:
    return list(dict.fromkeys(node.value for node in nodes if node.kind == kind))


def _signals(reading: Reading, nodes: tuple[Node, ...]) -> dict[str, Any]:
    """Each signal with its date: its latest appearance."""
    facts = [f for node in nodes for f in reading.facts(node) if f.kind is FactKind.SIGNAL]
    facts.sort(key=lambda fact: fact.received_at)
    return {
        fact.signal: {
            "firstSeenAt": describe.time(fact.received_at),
            "covers": list(fact.denied),
        }
        for fact in facts
        if fact.present
    }


def _history(
    site: Site, nodes: tuple[Node, ...], cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    before = None if cursor is None else whole_number(cursor, "cursor")
    found = site.world.store.records_of(nodes, before, HISTORY_PAGE + 1)
    page = found[:HISTORY_PAGE]
    following = str(page[-1].seq) if len(found) > HISTORY_PAGE else None
    return [describe.record(entry) for entry in page], following
