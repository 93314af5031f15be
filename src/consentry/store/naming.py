"""Which identifiers a record names: what ``records_of`` finds it by; and who may link them."""

from __future__ import annotations

from consentry.core.record import Node, NodeKind
from consentry.ledger.entry import Record


def nodes_named(record: Record) -> tuple[Node, ...]:
    """Every identifier in its subject, facts, links and merge; each once, in that order."""
    named = dict.fromkeys(record.subject)
    named.update(dict.fromkeys(node for node, _ in record.facts))
    named.update(dict.fromkeys(node for pair in record.links for node in pair))
    if record.merge is not None:
        named[account(record.merge.left)] = None
        named[account(record.merge.right)] = None
    return tuple(named)


def account(user_id: str) -> Node:
    """The identifier of an account."""
    return Node(NodeKind.ACCOUNT, user_id)


def is_trusted(trust: str) -> bool:
    """Whether what links identifiers is believed by others: any door but that of a public key."""
    return trust != "public"
