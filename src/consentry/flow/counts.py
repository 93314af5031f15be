"""What happened with a notice, counted: so that a marketer sees what a wording does.

Counts are of days, regions, editions and languages, and of nobody. Every label is one that this
program knows, so nobody can make up labels, whatever they send.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

from consentry.core.moment import Moment, format_exact
from consentry.core.policy import is_topic
from consentry.core.rule import Place
from consentry.flow.notices import Notices
from consentry.jurisdictions import known_place
from consentry.ledger.entry import Record
from consentry.ports import Tally

UNKNOWN = "unknown"
ELSEWHERE = "elsewhere"  # a country of which no rule speaks
SURFACES = frozenset({"banner", "preference_centre", "placeholder", "form", "link"})
_ANSWERS = frozenset({"granted", "denied", "conflict"})


class What(StrEnum):
    """What is counted. A person's first answer is accepted, refused or chosen; later ones change."""

    SHOWN = "shown"
    CLOSED = "closed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    CHOSEN = "chosen"
    CHANGED = "changed"


def tally(
    notices: Notices, what: What, place: Place, now: Moment, version: object, language: object
) -> Tally:
    """One of something, now. What is not known here is counted as unknown."""
    return Tally(
        format_exact(now)[:10],
        what.value,
        region_of(place),
        version if isinstance(version, str) and notices.is_edition(version, now) else UNKNOWN,
        language if isinstance(language, str) and language in notices.languages else UNKNOWN,
    )


@lru_cache(maxsize=1024)
def region_of(place: Place) -> str:
    """``US-CA``, ``DE``, or that it is not known: never more than the rules tell apart."""
    country, part = known_place(place)
    if country is None:
        return UNKNOWN
    if not country.isalpha():
        return ELSEWHERE
    return country if part is None else f"{country}-{part}"


def tallies_of(notices: Notices, record: Record, place: Place) -> tuple[Tally, ...]:
    """What a choice counts as: one that was made where people are asked, and by a person.

    What the preference centre says of topics alone comes beside an answer that is counted already.
    """
    evidence = record.evidence
    if evidence.get("surface") not in SURFACES or evidence.get("action") == "gpc":
        return ()
    if evidence["surface"] == "preference_centre" and _of_topics_alone(record):
        return ()
    version, language = evidence.get("noticeVersion"), evidence.get("language")
    what = _what(record)
    return (tally(notices, what, place, record.received_at, version, language),)


def _of_topics_alone(record: Record) -> bool:
    return all(is_topic(key) for _, fact in record.facts for key in (*fact.granted, *fact.denied))


def _what(record: Record) -> What:
    """By what was answered, not by which button is said to have been pressed."""
    if not _ANSWERS.isdisjoint(record.before.values()):
        return What.CHANGED
    granted = any(fact.granted for _, fact in record.facts)
    denied = any(fact.denied for _, fact in record.facts)
    if (granted and denied) or record.evidence.get("action") == "save":
        return What.CHOSEN
    return What.ACCEPTED if granted else What.REFUSED
