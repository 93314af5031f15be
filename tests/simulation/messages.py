"""Messages: as a client writes them, and what they say in the model's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from consentry.core.choice import Answer
from consentry.core.moment import SECOND, format_exact
from consentry.flow.records import Origin
from consentry.flow.world import World
from tests.simulation.model import EVERY_TOPIC, Event, Fact
from tests.simulation.policies import CATEGORIES, key_of
from tests.simulation.world import Request, Simulation, Told

UPDATE = "Segment Consent Preference Updated"
FUTURE_TOLERANCE = 5 * SECOND


def made_at(claimed: int | None, sent: int | None, received: int) -> int | None:
    """R2: the earlier of the claim and the corrected claim; None when it cannot be true."""
    if claimed is None:
        return received
    made = claimed if sent is None else min(claimed, received - (sent - claimed))
    return made if 0 <= made <= received + FUTURE_TOLERANCE else None


def first_made(claimed: int | None, made: int | None, others: Sequence[int]) -> int | None:
    """A message that comes while copies of it are being written is the same act as they are: made
    no later than the first came, and never if what it claims could not be true then."""
    if made is None or not others:
        return made
    if claimed is not None and made > min(others) + FUTURE_TOLERANCE:
        return None
    return min(made, *others)


def whom(device: str | None, account: str | None) -> list[str]:
    """The identifiers that a choice speaks for."""
    return [f"d:{device}"] * bool(device) + [f"u:{account}"] * bool(account)


def pair(device: str | None, account: str | None) -> tuple[str | None, str | None]:
    """The same, as a person: a device, an account, or both."""
    return f"d:{device}" if device else None, f"u:{account}" if account else None


def known_to(world: World) -> frozenset[str]:
    """All that people can say yes to, as it is configured now."""
    topics = {f"{one.id}@{way}" for one in world.policy.topics for way in one.channels}
    return frozenset({*CATEGORIES, *topics})


def counted(answers: dict[str, bool], known: frozenset[str]) -> dict[str, bool]:
    """What an answer says: a yes to what the workspace does not have is none; a no is kept."""
    return {what: yes for what, yes in answers.items() if not yes or what in known}


def parts_of(
    answers: dict[str, bool],
) -> tuple[dict[str, bool], dict[str, dict[str, bool]], list[str]]:
    """The same as the API takes it: categories, topics by channel, channels refused as a whole."""
    categories: dict[str, bool] = {}
    topics: dict[str, dict[str, bool]] = {}
    channels = []
    for what, yes in answers.items():
        topic, is_message, channel = what.partition("@")
        if not is_message:
            categories[what] = yes
        elif topic == EVERY_TOPIC:
            channels.append(channel)
        else:
            topics.setdefault(topic, {})[channel] = yes
    return categories, topics, channels


def everything(sim: Simulation, answer: Answer) -> dict[str, bool]:
    """M6: what is refused by who withdraws without a name, which must be all that there is."""
    refused = {key.removeprefix("topic:").replace(":", "@") for key in answer.denied}
    if len(sim.possible) == 1:
        topics = sim.possible[0]["topics"].items()
        ways = {way for _, spec in topics for way in spec["channels"]}
        wanted = {f"{t}@{w}" for t, spec in topics if not spec["why"] for w in spec["channels"]}
        wanted |= {*CATEGORIES, *(f"{EVERY_TOPIC}@{way}" for way in ways)}
        if left := sorted(wanted - refused):
            sim.violate(f"who withdraws everything still grants {left}")
    return dict.fromkeys(refused, False)


def answer(
    who: str,
    category: str,
    yes: bool,
    at: int,
    made: int | None,
    origin: Origin,
    whom: tuple[str | None, str | None],
    claimed: int | None,
) -> Fact:
    """R3: a public source grants for its device, and for the account that a token proves."""
    kind, _, value = who.partition(":")
    trusted = origin.trust != "public"
    entitled = trusted or kind == "d" or value == origin.proven_user
    said = "yes" if yes else "no"
    more = {"whom": whom, "claimed": claimed, "source": origin.source}
    return Fact(said, who, category, at, made, entitled, trusted=trusted, **more)


def read(
    before: dict[str, dict[str, Any]],
    items: list[dict[str, Any]],
    origin: Origin,
    gpc: bool | None,
    at: int,
    known: frozenset[str],
    gone: frozenset[str],
    lifted: frozenset[str],
    updating: Mapping[str, Sequence[int]],
    lifted_at: int = 0,
) -> tuple[list[dict[str, Any]], Request, bool | None]:
    """The messages of one request, what the request says, and whether it carries a signal.

    ``known`` is all that people can say yes to; of who is ``gone`` (erased) nothing is put on
    record, and ``lifted`` are those of whom that is about to be lifted. ``updating``: when the
    updates came that are being written, by their id; a copy that comes after ``lifted_at``, when
    a suppression ended, says no alone. An id that comes again is the same message again:
    ``before`` has those that came. An item
    has: kind (track, update, identify, alias), id (a number), device, account, previous, stamp,
    integrations, age (seconds before now, or None), skew (seconds the sender's clock is fast, or
    None for a sender that does not say when it sent).
    """
    request = Request(f"request of {origin.source} {items[0]['id']}", at)
    raw = []
    door = "s" if origin.trust == "server" else f"{origin.proven_user or 'w'}-"
    for given in items:
        message_id = f"{door}{given['id']}"
        item = before.setdefault(message_id, given | {"claimed": _claimed(given, at)})
        claimed, sent = item["claimed"], _sent(item, at)
        before_it = {f"{kind}:{item['previous']}" for kind in "du" if item["previous"]}
        raw.append(_raw(item, message_id, claimed, sent))
        made = made_at(claimed, sent, at)
        event = Event(
            *pair(item["device"], item["account"]),
            at,
            made,
            None if item["stamp"] is None else frozenset(c for c, y in item["stamp"].items() if y),
            item["integrations"] or {},
            item["kind"] == "update",
            origin.place.code is not None,  # every place that a driver draws is strict
            not (gone - lifted).isdisjoint(before_it),
            frozenset(before_it - lifted),
        )
        told = Told(message_id, event)
        request.messages.append(told)
        if not gone.isdisjoint({event.device, event.account, *before_it}):
            continue
        _links(request, item, origin, at)
        if item["kind"] == "update":
            copies = updating.get(message_id, ())
            first = first_made(claimed, made, copies)
            _choice(request, told, counted(item["stamp"], known), origin, at, first, claimed)
            if lifted_at > min(copies, default=lifted_at):
                told.grants.clear()
    devices = dict.fromkeys(one.event.device for one in request.messages)
    if None in devices:
        gpc = None  # signals of accounts are not in the model
    if gpc is not None:
        kind = "gpc" if gpc else "gone"
        trusted = origin.trust != "public"
        request.facts += [
            Fact(kind, who, "", at, trusted=trusted, whom=(who, None))
            for who in devices
            if who and who not in gone
        ]
    return raw, request, gpc


def _choice(
    request: Request,
    told: Told,
    stated: dict[str, bool],
    origin: Origin,
    at: int,
    made: int | None,
    claimed: int | None,
) -> None:
    """R11: an update states every category; what it leaves out is denied. Of messages it may say
    something, and leaves the others as they are."""
    device, account = told.event.device, told.event.account
    for who in filter(None, (device, account)):
        for what, yes in (dict.fromkeys(CATEGORIES, False) | stated).items():
            fact = answer(who, what, yes, at, made, origin, (device, account), claimed)
            (told.grants if fact.kind == "yes" else request.facts).append(fact)


def _links(request: Request, item: dict[str, Any], origin: Origin, at: int) -> None:
    device, account, previous = item["device"], item["account"], item["previous"]
    if item["kind"] not in ("identify", "alias") or not account:
        return
    trusted = origin.trust != "public"
    if device:
        request.facts.append(Fact("link", f"d:{device}", f"u:{account}", at, trusted=trusted))
    if item["kind"] == "alias":
        request.facts.append(Fact("link", f"d:{previous}", f"u:{account}", at, trusted=trusted))
        if trusted and previous != account:
            request.facts.append(Fact("merge", f"u:{previous}", f"u:{account}", at, trusted=True))


def _claimed(item: dict[str, Any], at: int) -> int | None:
    off = (item["skew"] or 0) * SECOND
    return None if item["age"] is None else at - item["age"] * SECOND + off


def _sent(item: dict[str, Any], at: int) -> int | None:
    return None if item["skew"] is None else at + item["skew"] * SECOND


def _raw(
    item: dict[str, Any], message_id: str, claimed: int | None, sent: int | None
) -> dict[str, Any]:
    raw: dict[str, Any] = {"type": item["kind"], "messageId": message_id}
    if item["kind"] in ("track", "update"):
        raw |= {"type": "track", "event": UPDATE if item["kind"] == "update" else "Seen"}
    for name, key in (("device", "anonymousId"), ("account", "userId"), ("previous", "previousId")):
        if item[name]:
            raw[key] = item[name]
    if item["stamp"] is not None:
        stated = {key_of(what): yes for what, yes in item["stamp"].items()}
        raw["context"] = {"consent": {"categoryPreferences": stated}}
    if item["integrations"]:
        raw["integrations"] = item["integrations"]
    if claimed is not None:
        raw["timestamp"] = format_exact(claimed)
    if sent is not None:
        raw["sentAt"] = format_exact(sent)
    return raw
