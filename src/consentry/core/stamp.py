"""The consent object of one event: read in every form it is written in.

A category is granted only if every place where consent stands grants it, so a reader
of several forms can only be stricter than a reader of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from consentry.core.bits import Bits

LONGEST_REMEMBERED = 1024  # bytes
OBJECT = (dict, Mapping)
"""What stands for a JSON object. It is nearly always a dict, and to ask that first costs a third."""

_PREFERENCES = "context.consent.categoryPreferences"
_encode = msgspec.json.Encoder().encode


class Invalid(Exception):
    """A member of a message has the wrong shape. ``field`` names it."""

    def __init__(self, field: str, message: str, code: str = "invalid_type") -> None:
        super().__init__(message)
        self.field = field
        self.message = message
        self.code = code


@dataclass(frozen=True)
class Stamp:
    """What an event says of consent. A category in ``stated`` but not in ``granted`` is denied."""

    granted: frozenset[str]
    stated: frozenset[str]
    _granted_bits: list[Any] = field(
        default_factory=lambda: [None, 0], init=False, repr=False, compare=False
    )

    _unknown: list[Any] = field(
        default_factory=lambda: [None, False], init=False, repr=False, compare=False
    )

    def granted_bits(self, bits: Bits) -> int:
        """The granted ones as a set; worked out once, for one stamp is read on many events."""
        known = self._granted_bits
        if known[0] is not bits:
            known[:] = bits, bits.of(self.granted)
        granted: int = known[1]
        return granted

    def names_unknown(self, categories: Mapping[str, Any]) -> bool:
        """Whether it names a category that is not among these; worked out once, too."""
        known = self._unknown
        if known[0] is not categories:
            known[:] = categories, not self.stated <= categories.keys()
        unknown: bool = known[1]
        return unknown

    @cached_property
    def written(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Granted and stated as they are stored, in order."""
        return tuple(sorted(self.granted)), tuple(sorted(self.stated))

    def joined(self, other: Stamp) -> Stamp:
        """Both must grant."""
        return Stamp(self.granted & other.granted, self.stated | other.stated)


EMPTY_STAMP = Stamp(frozenset(), frozenset())


def stamp_of_written(granted: tuple[str, ...], stated: tuple[str, ...]) -> Stamp:
    """The stamp that was ``written`` so; an event is asked about several times."""
    if sum(map(len, stated)) > LONGEST_REMEMBERED:
        return Stamp(frozenset(granted), frozenset(stated))
    return _remembered_pair(granted, stated)


@lru_cache(maxsize=4096)
def _remembered_pair(granted: tuple[str, ...], stated: tuple[str, ...]) -> Stamp:
    return Stamp(frozenset(granted), frozenset(stated))


def read_stamp(
    context: Mapping[str, Any] | None, *, has_integrations: bool, at: str = "context"
) -> Stamp | None:
    """The stamp that a context carries, or None when it says nothing about consent.

    ``has_integrations`` is whether a non-empty integrations object stands beside it, which
    turns ``consent: {}`` into a stamp that grants nothing. Raises Invalid with the field.
    """
    if not context:
        return None
    current = _current_form(context, has_integrations, at) if "consent" in context else None
    if "consentCategories" not in context and "consentManagement" not in context:
        return current
    return join_stamps((current, _draft_form(context, at), _rudderstack_form(context, at)))


def join_stamps(stamps: Iterable[Stamp | None]) -> Stamp | None:
    """One stamp from several; None when none of them says anything."""
    joined: Stamp | None = None
    for stamp in stamps:
        if stamp is not None:
            joined = stamp if joined is None else joined.joined(stamp)
    return joined


def category_preferences(value: Any, field: str) -> Stamp:
    """Read an object of category id to boolean. Raises Invalid naming the category."""
    if not isinstance(value, OBJECT):
        raise Invalid(field, f"{field} must be an object of category to true or false")
    try:
        text = _encode(value)
        if len(text) <= LONGEST_REMEMBERED:
            return _remembered(text)
    except (Invalid, ValueError, TypeError, RecursionError):
        pass  # read it below, to say what is wrong and where
    return _read_preferences(value, field)


@lru_cache(maxsize=4096)
def _remembered(text: bytes) -> Stamp:
    """The stamp in this JSON text: senders repeat a few of them all day.

    By the text and not by the values, because to Python 1 is True, and 1 is no answer.
    """
    return _read_preferences(msgspec.json.decode(text), "")


def _read_preferences(value: Mapping[str, Any], field: str) -> Stamp:
    for category, answer in value.items():
        if answer is not True and answer is not False:
            raise Invalid(f"{field}.{category}", f"{field}.{category} must be true or false")
    return Stamp(frozenset(c for c, yes in value.items() if yes), frozenset(value))


def _current_form(context: Mapping[str, Any], has_integrations: bool, at: str) -> Stamp | None:
    consent = context["consent"]
    if not isinstance(consent, OBJECT):
        raise Invalid(f"{at}.consent", f"{at}.consent must be an object")
    if "categoryPreferences" in consent:
        field = _PREFERENCES if at == "context" else f"{at}.consent.categoryPreferences"
        return category_preferences(consent["categoryPreferences"], field)
    # An object that names other things but no preferences is read as granting nothing.
    return EMPTY_STAMP if consent or has_integrations else None


def _draft_form(context: Mapping[str, Any], at: str) -> Stamp | None:
    if "consentCategories" not in context:
        return None
    return category_preferences(context["consentCategories"], f"{at}.consentCategories")


def _rudderstack_form(context: Mapping[str, Any], at: str) -> Stamp | None:
    if "consentManagement" not in context:
        return None
    field = f"{at}.consentManagement"
    consent = context["consentManagement"]
    if not isinstance(consent, OBJECT):
        raise Invalid(field, f"{field} must be an object")
    if "allowedConsentIds" not in consent and "deniedConsentIds" not in consent:
        return None
    allowed = _ids(consent, "allowedConsentIds", field)
    denied = _ids(consent, "deniedConsentIds", field)
    return Stamp(allowed - denied, allowed | denied)


def _ids(consent: Mapping[str, Any], name: str, field: str) -> frozenset[str]:
    value = consent.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Invalid(f"{field}.{name}", f"{field}.{name} must be a list of strings")
    return frozenset(item for item in value if item)
