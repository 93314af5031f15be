"""The languages that notices are written in, and which of them a person gets.

Texts are those of ``sdk/js/lang``, one JSON file a language, named by its BCP 47 tag. A
workspace may put its own in place of any of them, and add languages of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from types import MappingProxyType

from consentry import sdk

Texts = Mapping[str, str]

DIRECTION = "direction"
FALLBACK = "en"
LONGEST_HEADER = 1000  # characters of Accept-Language that are read
MOST_RANGES = 30
LONGEST_TAG = 35  # characters; RFC 5646, 4.4.1: no real one needs more


@cache
def shipped() -> Mapping[str, Texts]:
    """Every text that comes with the program, by language and key; none where none were built."""
    try:
        return MappingProxyType({tag: sdk.texts(tag) for tag in sdk.languages()})
    except sdk.NotBuilt:
        return MappingProxyType({})


def languages(own: Mapping[str, Texts]) -> tuple[str, ...]:
    """The tags of all languages there are, with those that a workspace adds."""
    return tuple(sorted({*shipped(), *own}))


def texts_in(language: str, own: Mapping[str, Texts]) -> Texts:
    """Every text in one language: the workspace's own, else as shipped, else in English.

    What a language of a region does not say, the wider one says: ``de`` before ``de-AT``.
    """
    basis = shipped()
    found = dict(basis.get(FALLBACK, {}))
    for tag in widest_first(language):
        found.update(basis.get(tag, {}))
        found.update(own.get(tag, {}))
    return MappingProxyType(found)


def widest_first(language: str) -> list[str]:
    """A tag with those that it is a part of: ``zh``, ``zh-Hant``, ``zh-Hant-TW``."""
    parts = language.split("-")
    return ["-".join(parts[: n + 1]) for n in range(len(parts))]


def direction(texts: Texts) -> str:
    """``rtl`` for a script that runs from right to left, else ``ltr``."""
    return "rtl" if texts.get(DIRECTION) == "rtl" else "ltr"


def negotiate(asked: Iterable[str], there: Iterable[str], default: str) -> str:
    """Which of the languages that are ``there`` comes first among those ``asked`` for.

    A range is shortened until something fits (RFC 4647, 3.4): ``de-AT`` finds ``de``. Then
    ``pt`` finds ``pt-BR`` too. Whoever asks for nothing that is there gets the default.
    """
    known = {tag.lower(): tag for tag in there}
    for wanted in asked:
        found = _look_up(wanted[:LONGEST_TAG].lower(), known)
        if found is not None:
            return found
    return known.get(default.lower(), default)


def _look_up(wanted: str, known: Mapping[str, str]) -> str | None:
    tag = wanted
    while tag:
        if tag in known:
            return known[tag]
        tag = tag.rpartition("-")[0]
        if len(tag.rpartition("-")[2]) == 1:  # a singleton goes with what it introduced
            tag = tag.rpartition("-")[0]
    first = wanted.partition("-")[0]
    return next((known[tag] for tag in sorted(known) if tag.partition("-")[0] == first), None)


def ranges(header: str) -> list[str]:
    """The languages of an Accept-Language header, the most wanted first (RFC 9110, 12.5.4)."""
    found = sorted(_weighed(header[:LONGEST_HEADER]), key=lambda one: -one[0])
    return [tag for weight, tag in found if weight > 0]


def _weighed(header: str) -> Iterator[tuple[float, str]]:
    for part in header.split(",")[:MOST_RANGES]:
        tag, _, parameters = part.partition(";")
        tag = tag.strip()
        if tag and tag != "*":
            yield _weight(parameters), tag


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if not parameters.strip():
        return 1.0
    try:
        weight = float(value) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
