"""What a page lets a person turn on and off, and what they turned."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from consentry.core.choice import Answer
from consentry.core.policy import Topic, channel_key, topic_key
from consentry.core.preference import Standing, Why
from consentry.core.record import Node
from consentry.core.rule import Rule
from consentry.flow import describe
from consentry.jurisdictions import rule_of
from consentry.notice import category_description, category_name, topic_name
from consentry.notice.rendered import destinations_of
from consentry.web.pages.fields import Fields
from consentry.web.pages.html import Words
from consentry.web.site import Site


@dataclass(frozen=True, slots=True)
class Item:
    """One switch. ``place`` is unique on its page.

    ``said`` is whether it is on because the person said yes: elsewhere silence may turn it on.
    ``destinations`` and ``tags`` are the names of who acts on a yes.
    """

    key: str
    name: str
    note: str
    on: bool
    place: int
    said: bool = False
    destinations: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """A channel that can be refused as a whole. ``stopped``: it was, and nothing goes by it now."""

    channel: str
    name: str
    stopped: bool

    @property
    def key(self) -> str:
        return channel_key(self.channel)


@dataclass(frozen=True, slots=True)
class Board:
    """Every switch of a page: categories, and topics with their channels.

    ``always`` are the essential categories, ``gpc`` the names of those that the browser's own
    signal refuses. ``sent`` are the transactional topics, each with why: nobody switches them.
    ``ways`` are the channels that can be stopped.
    """

    categories: tuple[Item, ...]
    topics: tuple[tuple[str, tuple[Item, ...]], ...]
    always: tuple[Item, ...] = ()
    gpc: str = ""
    sent: tuple[Item, ...] = ()
    ways: tuple[Way, ...] = ()

    @property
    def items(self) -> tuple[Item, ...]:
        return (*self.categories, *(item for _, items in self.topics for item in items))

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(item.key for item in self.items)

    def named(self) -> list[dict[str, Any]]:
        """For the archive of what was shown: without what was chosen."""
        of = {item.key: topic for topic, items in self.topics for item in items}
        return [
            {
                "id": one.key,
                "topic": of.get(one.key),
                "name": one.name,
                "note": one.note,
                "destinations": one.destinations,
                "tags": one.tags,
            }
            for one in (*self.always, *self.items, *self.sent)
        ] + [{"id": way.key, "name": way.name} for way in self.ways]

    @property
    def silent(self) -> bool:
        """Whether something is on that nobody has said yes to."""
        return any(item.on and not item.said for item in self.items)


def board(
    site: Site,
    words: Words,
    standing: Standing,
    rule: Rule,
    bound: Collection[str] | None = None,
    *,
    topics: bool = True,
    gpc: bool = False,
) -> Board:
    """What there is to choose now, with what holds. ``bound`` are the keys that a link has."""
    policy, now = site.world.policy, site.world.clock.now()
    held = describe.preferences(policy, standing, now, rule=rule)
    categories, always, refused = [], [], []
    for place, category in enumerate(policy.categories):
        if not category.enabled or not (bound is None or category.id in bound):
            continue
        name = category_name(site.config.notice, category, words.language)
        note = category_description(site.config.notice, category, words.language)
        found = held[category.id]
        on = found["effective"] == "granted"
        item = Item(
            category.id,
            name,
            note,
            on,
            place,
            on and found["state"] == "granted",
            destinations_of(policy, category.id),
            tuple(tag.name for tag in site.config.tags if category.id in tag.categories),
        )
        if category.essential:
            always.append(item)
        elif found["why"] != Why.PROHIBITED:
            categories.append(item)
            if (gpc and category.gpc) or found["why"] == Why.SIGNAL:
                refused.append(name)
    refusals = ", ".join(refused)
    if not topics:
        return Board(tuple(categories), (), tuple(always), refusals)
    reached = None if bound is None else policy.reached(bound)
    described = _topics(site, words, describe.topics(policy, standing, now), reached)
    sent = () if standing.suppressed else _sent(site, words, reached)
    ways = ways_of(site, words, bound, _stopped(site, standing, described))
    return Board(tuple(categories), described, tuple(always), refusals, sent, ways)


def ways_of(
    site: Site, words: Words, bound: Collection[str] | None, stopped: Collection[str] = ()
) -> tuple[Way, ...]:
    """The channels of what needs consent; ``bound`` are the keys that a link has."""
    policy = site.world.policy
    asked = frozenset(policy.messages)
    return tuple(
        Way(channel, channel_name(words, channel), channel in stopped)
        for channel in dict.fromkeys(c for topic in policy.topics for c in topic.channels)
        if not asked.isdisjoint(policy.of_channel[channel_key(channel)])
        and (bound is None or channel_key(channel) in bound)
    )


def _stopped(
    site: Site, standing: Standing, topics: tuple[tuple[str, tuple[Item, ...]], ...]
) -> frozenset[str]:
    """The channels that were refused as a whole, and no topic was agreed to since."""
    refused = describe.channels(site.world.policy, standing)
    on = {item.key.split(":", 2)[2] for _, items in topics for item in items if item.on}
    return frozenset(c for c, found in refused.items() if found["state"] == "denied") - on


def _sent(site: Site, words: Words, bound: Collection[str] | None) -> tuple[Item, ...]:
    """What is sent without consent: by which channels, and why."""
    found = []
    for topic in site.world.policy.topics:
        keys = topic.keys
        if topic.transactional is None or not (bound is None or set(keys.values()) & set(bound)):
            continue
        name = f"{name_of(site, words, topic)} ({_channels(words, keys)})"
        found.append(Item(topic.id, name, topic.transactional, True, 0))
    return tuple(found)


def _channels(words: Words, channels: Iterable[str]) -> str:
    return ", ".join(channel_name(words, channel) for channel in channels)


def _topics(
    site: Site, words: Words, held: Mapping[str, Any], bound: Collection[str] | None
) -> tuple[tuple[str, tuple[Item, ...]], ...]:
    found = []
    place = len(site.world.policy.categories)
    for topic in site.world.policy.topics:
        if topic.transactional is not None:
            continue
        items = []
        for channel in topic.channels:
            key, place = topic_key(topic.id, channel), place + 1
            if bound is None or key in bound:
                on = held[topic.id][channel]["effective"] == "granted"
                items.append(Item(key, channel_name(words, channel), "", on, place, on))
        if items:
            found.append((name_of(site, words, topic), tuple(items)))
    return tuple(found)


def name_of(site: Site, words: Words, topic: Topic) -> str:
    """A topic as the person knows it."""
    return topic_name(site.config.notice, topic.id, topic.name, words.language)


def channel_name(words: Words, channel: str) -> str:
    return words.texts.get(f"page.channel.{channel}", channel)


def names_of(site: Site, words: Words, keys: Collection[str]) -> list[str]:
    """Categories and topics by name, for a list of what a link is about."""
    policy, notice = site.world.policy, site.config.notice
    keys = set(policy.reached(keys)) - policy.transactional.keys()
    named = [
        category_name(notice, category, words.language)
        for category in policy.categories
        if category.id in keys
    ]
    for topic in policy.topics:
        channels = [
            channel_name(words, channel)
            for channel in topic.channels
            if topic_key(topic.id, channel) in keys
        ]
        if channels:
            named.append(f"{name_of(site, words, topic)} ({', '.join(channels)})")
    return named


STOP = "stop:"
"""What a button that refuses a channel as a whole begins with; the channel follows."""


def answer_of(fields: Fields, offered: Board) -> Answer:
    """What a form says of the switches that it showed and that are still offered.

    Who stops a channel may have turned something off before: that counts, and nothing is turned on. One that it did not show was not asked about, so it stays as it is. Only ``do=save`` can turn
    something on. What was off and is on now is a yes, and so is what stays on that the person had
    agreed to. What was on because nobody had said anything, and stays on, says nothing.
    """
    asked, do = frozenset(fields.all("shown")) & offered.keys, fields.get("do")
    on, was = frozenset(fields.all("on")) & asked, frozenset(fields.all("was"))
    if do.startswith(STOP):
        stopped = frozenset(way.key for way in offered.ways if do == STOP + way.channel)
        return Answer(frozenset(), stopped | (asked & was - on) if stopped else frozenset())
    if do != "save":
        return Answer(frozenset(), asked)
    turned_on = on - was
    said = frozenset(item.key for item in offered.items if item.said)
    return Answer(turned_on | (on & said), asked - on)


def rule_at(site: Site, request: Request) -> Rule:
    """The rule of the place that the reader is in."""
    return rule_of(site.place_of(request), site.world.clock.now())


def subject_standing(site: Site, subject: tuple[Node, ...], *, alone: bool) -> Standing:
    """What holds for these identifiers; ``alone``: without anything that is linked to them."""
    world, now = site.world, site.world.clock.now()
    if alone:
        return world.subjects.alone(subject, world.policy, now)
    return world.subjects.standing(subject, world.policy, now)
