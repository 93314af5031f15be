"""Whom an event names besides those who decide about it.

An alias says who its person was before, and an address may stand in several places of which one
decides. All of it is sent on, so nobody who was erased may be among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from consentry.core.event import normal_email, normal_phone
from consentry.core.record import Node, NodeKind
from consentry.core.stamp import OBJECT
from consentry.flow.person import is_erased
from consentry.flow.world import World
from consentry.ports import StoredEvent

_ADDRESSES = (
    ("email", NodeKind.EMAIL, normal_email, b'"email"'),
    ("phone", NodeKind.PHONE, normal_phone, b'"phone"'),
)
_CONTACTS = frozenset({NodeKind.EMAIL, NodeKind.PHONE})


def besides(message: Mapping[str, Any], nodes: Collection[Node]) -> tuple[Node, ...]:
    """Identifiers in a message that are not among ``nodes``, which decide about it.

    Whom an alias names as the one before may be a device or an account.
    """
    if "previousId" not in message and not any(node.kind in _CONTACTS for node in nodes):
        return ()  # an address that is anywhere is the first there is, and decides
    return tuple(dict.fromkeys(node for node in _named(message) if node not in nodes))


def _named(message: Mapping[str, Any]) -> Iterator[Node]:
    previous = message.get("previousId")
    if isinstance(previous, str) and previous:
        yield Node(NodeKind.DEVICE, previous)
        yield Node(NodeKind.ACCOUNT, previous)
    context = message.get("context")
    traits = context.get("traits") if isinstance(context, OBJECT) else None
    for place in (message.get("traits"), message.get("properties"), traits):
        if not isinstance(place, OBJECT):
            continue
        for name, kind, normal, _ in _ADDRESSES:
            value = place.get(name)
            address = normal(value) if isinstance(value, str) else None
            if address is not None:
                yield Node(kind, address)


def besides_in(body: bytes, nodes: Collection[Node]) -> tuple[Node, ...]:
    """The same of a message as JSON, which is read only where its bytes say that it may be so."""
    return besides(msgspec.json.decode(body), nodes) if _may_name_more(body, nodes) else ()


def _may_name_more(body: bytes, nodes: Collection[Node]) -> bool:
    if b"previousId" in body or b"\\u" in body:  # a name may be written with escapes
        return True
    if not any(node.kind in _CONTACTS for node in nodes):
        return False
    return any(body.count(name) > 1 for *_, name in _ADDRESSES)


def names_erased(world: World, event: StoredEvent) -> bool:
    """Whether a stored event names somebody besides who was erased. Raises StoreError."""
    others = besides_in(event.body, event.nodes)
    return bool(others) and is_erased(world, others)
