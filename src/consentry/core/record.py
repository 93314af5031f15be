"""Facts: what records say of one identifier, and what is known of one subject.

A *record* is the ledger's entry (see ``consentry.ledger``). Here is only the part of it that
a preference is folded from. Facts carry their own times, so the order in which they are
read cannot matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

import msgspec

from consentry.core.moment import Moment


class NodeKind(StrEnum):
    """What kind of identifier. One letter each, for they are stored by the million."""

    __hash__ = str.__hash__  # Enum's own is a call; identifiers are looked up all the time

    DEVICE = "d"
    ACCOUNT = "u"
    EMAIL = "e"
    PHONE = "p"
    WORKSPACE = "w"  # the workspace itself, whose configuration is on record too


class Node(NamedTuple):
    """One identifier of a subject."""

    kind: NodeKind
    value: str


class FactKind(StrEnum):
    CHOICE = "choice"
    IMPORT = "import"
    SIGNAL = "signal"
    SUPPRESS = "suppress"
    UNSUPPRESS = "unsuppress"


class Fact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one record says of one identifier.

    ``made_at`` is None when the claimed time cannot be true; such a grant lifts nothing.
    ``missing`` repeats those of ``denied`` that a full statement left out. ``proven`` is
    whether the asker was entitled to grant for this identifier. ``signal`` and ``present``
    belong to signals alone: seen, or seen to be gone.
    """

    kind: FactKind
    record_id: str
    received_at: Moment
    made_at: Moment | None = None
    granted: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    proven: bool = True
    signal: str = ""
    present: bool = True


Facts = tuple[Fact, ...]


class Merge(msgspec.Struct, frozen=True, array_like=True):
    """Two accounts became one, by a server source's alias."""

    record_id: str
    at: Moment
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account with all that were merged into it. ``members`` maps user id to facts."""

    user_id: str
    members: dict[str, Facts] = field(default_factory=dict)
    merges: tuple[Merge, ...] = ()

    @property
    def facts(self) -> Facts:
        return tuple(fact for facts in self.members.values() for fact in facts)


@dataclass(frozen=True, slots=True)
class History:
    """Everything recorded that can bear on one subject.

    ``device`` and ``account`` are those named. ``others`` are further accounts of the device,
    ``siblings`` further devices of any of these accounts, ``contacts`` e-mail addresses and
    phone numbers linked to any of them. ``contact`` is the address named where neither a device
    nor an account is: then it speaks for itself.
    """

    device: Facts | None = None
    account: Account | None = None
    others: tuple[Account, ...] = ()
    siblings: tuple[Facts, ...] = ()
    contacts: tuple[Facts, ...] = ()
    contact: Facts | None = None

    def all_facts(self) -> list[Fact]:
        """Every fact, whatever it is of."""
        found = list(self.device or ())
        for account in (self.account, *self.others):
            if account is not None:
                found.extend(account.facts)
        for facts in (*self.siblings, *self.contacts, self.contact or ()):
            found.extend(facts)
        return found

    def all_merges(self) -> list[Merge]:
        """Every merge of any account in it."""
        accounts = [one for one in (self.account, *self.others) if one is not None]
        return [merge for account in accounts for merge in account.merges]
