"""Where an event was accepted, and what the rule of that place makes of it.

The place is the visitor's, told by the door. An event of a server source has no visitor behind
it; an address in its context may be looked up, and the place so found can only tighten. An
event says nothing else of its place that is believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from consentry.core.decision import Question
from consentry.core.event import Event
from consentry.core.moment import DAY, Moment, parse
from consentry.core.policy import Policy
from consentry.core.preference import FOREVER, Standing
from consentry.core.rule import How, Place, Rule
from consentry.flow.records import Origin
from consentry.flow.world import World
from consentry.jurisdictions import rule_at
from consentry.ports import StoredEvent

PRECISE_LOCATION = "precise_location"
OLDEST = 150  # years: who says more says nothing
_NO_DATA: tuple[str, ...] = ()


class Known(NamedTuple):
    """What is known of an event that a rule may ask: where, how old its person is, what it holds.

    ``place`` is a place's code, None where nobody looked. ``age`` is in years.
    """

    place: str | None = None
    age: int | None = None
    data: tuple[str, ...] = _NO_DATA


NOTHING = Known()


def known_of(world: World, origin: Origin, event: Event) -> Known:
    """What is known of an event as it comes in."""
    place = origin.place
    if place.how is How.NOBODY_LOOKED:
        if origin.trust == "public" or world.locate is None:
            return NOTHING
        address = event.context.get("ip")
        if not isinstance(address, str):
            return NOTHING
        found = world.locate(address)
        place = Place(found.country, found.region, How.CLAIMED)
    message = event.message
    return Known(place.code, _age(message, event.received_at), _data(message))


def known_of_stored(event: StoredEvent) -> Known:
    """The same of an event that was accepted before."""
    return Known(event.place, event.age, event.data)


def rule_for(known: Known, at: Moment) -> Rule | None:
    """What holds for an event at a moment; None where nobody looked."""
    if known.place is None:
        return None
    rule = rule_at(known.place, at)
    return rule if known.age is None else rule.for_age(known.age)


def there(policy: Policy, question: Question, known: Known, at: Moment) -> Question:
    """A question as it is where the event was accepted, under the rule as of ``at``."""
    rule = rule_for(known, at)
    if rule is None:
        return question
    prohibited = question.prohibited
    if (rule.ages and known.age is not None) or (rule.bans and known.data):
        prohibited = policy.prohibited(rule, known.age, frozenset(known.data))
    since = rule.grants_since(at)
    return msgspec.structs.replace(question, rule=rule, prohibited=prohibited, grants_since=since)


def grant_ages_at(rule: Rule | None, standing: Standing, now: Moment) -> Moment:
    """The first moment from which another grant is too old for a rule."""
    if rule is None or rule.grant_days is None:
        return FOREVER
    life = rule.grant_days * DAY
    made = (found.grant.made_at for found in standing.found.values() if found.grant is not None)
    return min((at + life + 1 for at in made if at + life >= now), default=FOREVER)


def _age(message: Mapping[str, Any], now: Moment) -> int | None:
    """The age that an event states of its person, as SDKs write it: the least of several."""
    stated = (message.get("traits"), _context(message).get("traits"))
    ages = [age for traits in stated if isinstance(traits, Mapping) for age in _ages(traits, now)]
    return min(ages) if ages else None


def _context(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return message.get("context") or {}


def _ages(traits: Mapping[str, Any], now: Moment) -> list[int]:
    found: list[int] = []
    age = traits.get("age")
    if isinstance(age, str) and age.isascii() and age.isdigit():
        age = int(age[:9])
    if isinstance(age, int | float) and not isinstance(age, bool) and 0 <= age <= OLDEST:
        found.append(int(age))
    born = traits.get("birthday")
    if isinstance(born, str):
        try:
            years = (now - parse(born[:40])) / (365.2425 * DAY)
        except ValueError:
            return found
        if 0 <= years <= OLDEST:
            found.append(int(years))
    return found


def _data(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The kinds of data that can be recognised. Sensitive data cannot: nothing marks it."""
    location = _context(message).get("location")
    if isinstance(location, Mapping) and "latitude" in location and "longitude" in location:
        return (PRECISE_LOCATION,)
    return _NO_DATA
