"""The short way of an event: plain, stamped, and about nobody of whom anything is recorded.

Of such an event the decisions depend on its consent object alone, so they are remembered by the
text of that object (``Plan``). Whether an event is one of them is read off here, member by
member. Whatever is unusual in it, right or wrong, is no such event: then ``core.event`` reads it
and ``core.decision`` decides, as for every other door. tests/client holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from operator import length_hint
from types import MappingProxyType
from typing import Any

import msgspec

from consentry.client.result import Result
from consentry.core.event import LONGEST_ID, LONGEST_MESSAGE_ID, PREFERENCE_UPDATE
from consentry.core.record import Node, NodeKind
from consentry.core.stamp import LONGEST_REMEMBERED

Call = Callable[[Any], Any]
MOST_PLANS = 4096
"""How many are remembered: senders choose what stands in a consent object."""
_FOR_EVER = 2**62

_EMPTY: dict[str, Any] = {}
_ADDRESSES = (NodeKind.EMAIL, NodeKind.PHONE)
_NONE: Mapping[str, Exception] = MappingProxyType({})
_encode = msgspec.msgpack.Encoder().encode
_time = datetime.fromisoformat


class Plan:
    """What to do with every event whose consent object comes to this. ``tick`` counts one."""

    __slots__ = ("_left", "calls", "result", "tick")

    def __init__(self, calls: tuple[tuple[str, Call], ...], withheld: Mapping[str, str]) -> None:
        self.calls = calls
        self.result = Result(tuple(name for name, _ in calls), withheld, _NONE)
        # One step of an iterator is one step for all threads, at a sixth of a lock's price.
        self._left = iter(range(_FOR_EVER))
        self.tick = self._left.__next__

    @property
    def used(self) -> int:
        """How many events have gone through it."""
        return _FOR_EVER - length_hint(self._left)


class Heard:
    """Identifiers of whom this process has recorded anything."""

    __slots__ = ("addresses", "values")

    def __init__(self) -> None:
        self.values: set[str] = set()
        self.addresses = False

    def add(self, nodes: Iterable[Node]) -> None:
        """Events that name one of these take the long way from now on."""
        for node in nodes:
            self.values.add(node.value)
            self.addresses = self.addresses or node.kind in _ADDRESSES


def text_of(event: Any, heard: Heard) -> bytes | None:
    """The event's consent object as MessagePack if the event is plain; None if it is not.

    A plain event is well formed: ``core.event.parse_event`` accepts it. Its answers alone are
    not looked at: odd ones have a text that no accepted event has, so there is no plan for it.
    """  # one function, because calls would cost more than what they check
    if type(event) is not dict or (
        "writeKey" in event
        or "_metadata" in event
        or "previousId" in event
        or "originalTimestamp" in event
        or "sentAt" in event
        or ("traits" in event and type(event["traits"]) is not dict)
        or (
            "integrations" in event
            and (type(event["integrations"]) is not dict or event["integrations"])
        )
    ):
        return None
    try:
        kind, context = event["type"], event["context"]
        if kind == "track":
            name = event["event"]
            if type(name) is not str or not name or name == PREFERENCE_UPDATE:
                return None
        elif (kind != "page" and kind != "screen") or type(event.get("name", "")) is not str:
            return None
        get, known = event.get, heard.values
        device, account, message_id = get("anonymousId"), get("userId"), get("messageId", "")
        if (device is not None and (type(device) is not str or len(device) > LONGEST_ID)) or (
            account is not None and (type(account) is not str or len(account) > LONGEST_ID)
        ):
            return None
        if (not device and not account) or (known and (device in known or account in known)):
            return None
        if type(message_id) is not str or len(message_id) > LONGEST_MESSAGE_ID:
            return None
        if type(get("properties", _EMPTY)) is not dict or type(context) is not dict:
            return None
        if "consentCategories" in context or "consentManagement" in context:
            return None
        if heard.addresses and _names_address(event, context):
            return None
        if "timestamp" in event:
            at = event["timestamp"]
            # In the years 2 to 9998 every time zone's times can be told.
            if type(at) is not str or not 10 <= len(at) <= 40 or not 1 < _time(at).year < 9999:
                return None
        consent = context["consent"]
        if type(consent) is not dict or type(consent["categoryPreferences"]) is not dict:
            return None
        text = _encode(consent["categoryPreferences"])
    except (KeyError, ValueError, TypeError, RecursionError):
        return None
    return text if len(text) <= LONGEST_REMEMBERED else None


def _names_address(event: dict[str, Any], context: dict[str, Any]) -> bool:
    """Whether an e-mail address or a phone number stands where ``core.event`` looks for one."""
    places = (event.get("traits"), event.get("properties"), context.get("traits"))
    return any(isinstance(p, Mapping) and ("email" in p or "phone" in p) for p in places)
