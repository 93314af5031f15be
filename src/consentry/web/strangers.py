"""How often one address of the network may cause mails: whoever floods us floods others.

And how many texts strangers may have archived: what is archived stays for ever.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from consentry.core.moment import DAY, Moment
from consentry.web.problems import Problem

MOST = 20
WITHIN_S = 600.0
REMEMBERED = 20_000
_SUBNET = 64  # a household has a whole IPv6 network (RFC 6177)


@dataclass
class Strangers:
    """Counts by network address, in memory. ``clock`` is in seconds and never goes back."""

    most: int = MOST
    clock: Callable[[], float] = time.monotonic
    _seen: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)

    def check(self, address: str | None) -> None:
        """Count one. Raises Problem 429. Those of whom nothing is known share one count."""
        key, now = network_key(address), self.clock()
        since, count = self._seen.pop(key, (now, 0))
        if now - since >= WITHIN_S:
            since, count = now, 0
        self._seen[key] = since, min(count + 1, self.most + 1)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        if count >= self.most:
            wait_s = max(1, int(since + WITHIN_S - now))
            raise Problem(
                429, "rate_limited", "too many requests from here; wait", retry_after_s=wait_s
            )


MOST_TEXTS_A_DAY = 100
"""Of one source: a form's text changes seldom."""


@dataclass
class ForeignTexts:
    """Counts texts by source and day (UTC), in memory."""

    most: int = MOST_TEXTS_A_DAY
    _day: int = 0
    _taken: Counter[str] = field(default_factory=Counter)

    def takes(self, source: str, now: Moment) -> bool:
        """Whether one more of this source is archived today; counts it."""
        if now // DAY != self._day:
            self._day = now // DAY
            self._taken.clear()
        self._taken[source] += 1
        return self._taken[source] <= self.most


def network_key(address: str | None) -> str:
    """What one household has: an IPv4 address, or an IPv6 network; empty for what is neither."""
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(ip, ipaddress.IPv6Address):
        mapped = ip.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        return str(ipaddress.ip_network((int(ip), _SUBNET), strict=False))
    return str(ip)
