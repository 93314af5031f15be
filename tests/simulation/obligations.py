"""The oracle of orders: whom other systems may hear of, and what they must have been told last.

As ``model``: plain values, nothing taken from ``consentry``. Another system hears of whoever a
word is proven to be of, and of what a trusted door has tied to their account: it must be told of
a refusal, and of a yes that lets it have somebody whom it might not have before.

Of who was erased it is told that, last; and then of nothing more, unless somebody lifts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.simulation.model import Event, Fact, Known

Scope = str | None
"""What a word to another system is about: one message (a topic by a channel), or the person."""
WHOLE: Scope = None
TYING = frozenset({"link", "merge"})
REFUSALS = frozenset({"no", "suppress", "erased"})
CHANGING = frozenset({"no", "gpc", "suppress", "erased", *TYING})
"""By any of these somebody may have to be told something else of people who are tied together."""


def reach(word: Fact, facts: Iterable[Fact]) -> set[str]:
    """Whom others may be told of for this word's sake; nobody, if nobody proved it. An erasure
    says itself whom it takes."""
    if word.kind == "erased":
        return {word.who} if word.entitled else set()
    ends = {word.who, word.what} if word.kind in TYING else {word.who}
    if not (word.trusted if word.kind in TYING else word.entitled):
        return set()
    ties = [{f.who, f.what} for f in facts if f.kind == "link" and f.trusted]
    near = ends.union(*(tie for tie in ties if tie & ends)) if word.trusted else ends
    accounts = {who for who in near if who.startswith("u:")}
    devices = {who for tie in ties if tie & accounts for who in tie if who.startswith("d:")}
    return ends | accounts | devices


def tied(who: str, facts: Sequence[Fact]) -> set[str]:
    """Everybody who may be the same person as somebody, however badly that is proven."""
    pairs = [{f.who, f.what} for f in facts if f.kind in TYING]
    pairs += [set(f.whom) - {None} for f in facts if None not in f.whom]  # type: ignore[misc]
    found, before = {who}, 0
    while len(found) > before:
        before = len(found)
        found = found.union(*(pair for pair in pairs if pair & found))
    return found


def proven(named: set[str], theirs: set[str], facts: Iterable[Fact]) -> set[str]:
    """Of whom an erasure takes, those that others are told of: who was named, the accounts, and
    what a trusted door has tied to these."""
    accounts = {who for who in theirs if who.startswith("u:")}
    tied = {f.who for f in facts if f.kind == "link" and f.trusted and f.what in accounts}
    return (named | accounts | tied) & theirs


def carried(policy: dict[str, Any], destination: str) -> set[str]:
    """The messages of which a destination is told: what it carries, by how it reaches people."""
    spec = policy["destinations"].get(destination)
    if spec is None:
        return set()
    topics = {t: said["channels"] for t, said in policy["topics"].items() if t in spec["topics"]}
    return {f"{t}@{way}" for t, ways in topics.items() for way in ways if way in spec["reaches"]}


def taken(word: Fact, destination: str, policy: dict[str, Any]) -> set[Scope]:
    """What a refusal takes from a destination: the person, some messages to them, or nothing."""
    spec = policy["destinations"].get(destination)
    if spec is None or word.kind not in REFUSALS:
        return set()
    if word.kind in ("suppress", "erased"):
        return {WHOLE}  # and with the person every message
    found: set[Scope] = {WHOLE} if word.what in spec["categories"] else set()
    return found | {message for message in carried(policy, destination) if word.about(message)}


def refuses(word: Fact, destination: str, scope: Scope, policies: Iterable[dict[str, Any]]) -> bool:
    """Whether a word takes this from a destination under each of these policies."""
    return all(scope in taken(word, destination, policy) for policy in policies)


def persons(who: str, others: Iterable[str]) -> Iterator[Event]:
    """Everybody whom an identifier may stand for: alone, and beside one of the other kind."""
    for other in (None, *(o for o in others if o[0] != who[0])):
        device, account = (who, other) if who.startswith("d:") else (other, who)
        yield Event(device, account, 0, 0)


def may_have(known: Known, destination: str, scope: Scope, event: Event) -> bool:
    """Whether a destination may have somebody now, turned on or not; or may write to them."""
    asked = Event(event.device, event.account, known.now, known.now, strict=event.strict)
    if destination not in known.policy["destinations"]:
        return False
    if scope is not WHOLE:
        return known.may_write(scope, asked)
    return known.may_have(destination, asked)
