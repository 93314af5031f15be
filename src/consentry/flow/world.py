"""What every flow is handed: the adapters, and the policy in force."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from consentry.clock import Clock
from consentry.core.moment import Moment
from consentry.core.policy import Policy, Regime
from consentry.core.record import Node
from consentry.core.rule import Place
from consentry.destinations.instruction import Orders
from consentry.flow.feed import Feed
from consentry.flow.followers import Followers
from consentry.flow.lately import Lately
from consentry.flow.notices import Notices, nothing_shown
from consentry.flow.subjects import Subjects
from consentry.notice import History
from consentry.ports import Store

if TYPE_CHECKING:
    from consentry.flow.asked import Asked
    from consentry.flow.owed import Door


class Tellable(NamedTuple):
    """What one destination can be told of a choice.

    ``orders`` is None where its kind takes none. ``topics`` are the ids of those it carries.
    """

    orders: Orders | None = None
    topics: tuple[str, ...] = ()


class Chance:
    """The system's random bytes, drawn a page at a time.

    To ask the system lets go of the interpreter, and under load another thread then keeps it
    for milliseconds. For one thread; no byte is given twice.
    """

    DRAWN = 4096

    def __init__(self) -> None:
        self._bytes = b""
        self._at = 0

    def take(self, count: int) -> bytes:
        """So many bytes, at most 4,096."""
        if self._at + count > len(self._bytes):
            self._bytes, self._at = secrets.token_bytes(self.DRAWN), 0
        self._at += count
        return self._bytes[self._at - count : self._at]


_chance = Chance()


def new_id(prefix: str) -> str:
    """An opaque id: the time in milliseconds, and 80 bits of chance.

    Ids that follow each other in time lie beside each other in an index.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{_chance.take(10).hex()}"


def new_salt() -> bytes:
    """What a leaf of the ledger is blinded with: 256 bits of chance."""
    return _chance.take(32)


@dataclass
class World:
    """The running workspace. ``policy`` is replaced whole when the configuration changes.

    ``regimes`` holds the default regime of each source that states one. ``notify`` is called
    when events became durable, so that workers need not poll. ``updating`` holds when preference
    updates that are on their way to the disk were received, by source and message id, and
    ``lifted_at`` when the last end of a suppression was. ``locate``
    finds the place of an IP address, None where there is no file of them. ``asked`` holds what
    was found of the events that were asked about last. ``mailing`` counts the mails to an address
    that are on their way to the disk, and ``erasing`` the erasures of an identifier. ``told`` says of each destination what it can be told of a
    choice, ``takes`` of each kind, and ``owe`` is called when orders became durable. ``trusted_links`` are some of those
    that a trusted door has said. ``doors`` holds where the records of orders that were asked about
    lately came from, by record. ``telling`` is what people are told from a configuration on
    that is being put on record.
    """

    store: Store
    subjects: Subjects
    clock: Clock
    policy: Policy
    policy_id: int
    regimes: dict[str, Regime] = field(default_factory=dict)
    shadow: bool = False
    notices: Notices = field(default_factory=nothing_shown)
    telling: History | None = None
    feed: Feed = field(default_factory=Feed)
    followers: Followers = field(default_factory=Followers)
    notify: Callable[[], None] = lambda: None
    told: dict[str, Tellable] = field(default_factory=dict)
    takes: Mapping[str, Orders | None] = field(default_factory=dict)
    owe: Callable[[], None] = lambda: None
    trusted_links: set[tuple[Node, Node]] = field(default_factory=set)
    doors: dict[str, Door] = field(default_factory=dict)
    answering: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    updating: dict[tuple[str, str], list[Moment]] = field(default_factory=dict)
    lifted_at: Moment = 0
    locate: Callable[[str], Place] | None = None
    asked: Lately[Asked] = field(default_factory=Lately)
    mailing: Counter[Node] = field(default_factory=Counter)
    erasing: Counter[Node] = field(default_factory=Counter)
    new_id: Callable[[str], str] = new_id
    new_salt: Callable[[], bytes] = new_salt
