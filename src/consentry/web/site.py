"""The site: what every handler is given, and what it asks of every request."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import ipaddress
import secrets
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from consentry.config import Config, Source
from consentry.core.moment import SECOND, Moment
from consentry.core.rule import NOBODY_LOOKED, Place
from consentry.flow.links import Links
from consentry.flow.notices import Notices
from consentry.flow.office import Office
from consentry.flow.records import Origin
from consentry.flow.world import World
from consentry.orders import Order
from consentry.ports import Delivery
from consentry.secret import Secret
from consentry.web.arriving import Room
from consentry.web.call import Asked
from consentry.web.meters import Meters
from consentry.web.place import Places
from consentry.web.problems import Problem
from consentry.web.strangers import ForeignTexts, Strangers
from consentry.worker import Worker

SUBJECT_TOKEN = "consentry-subject-token"  # noqa: S105 - the name of a header
LONGEST_TOKEN_LIFE_S = 3600
MOST_HEADERS = 1024
MOST_BYTES = 64 * 1024 * 1024
MOST_CHOICE_BYTES = 16 * 1024 * 1024
ADMIN = Origin("", "admin")
# A write key is public: whoever floods it with events may not keep others from withdrawing.
EVENTS, CHOICES = LANES = ("events of ", "choices of ")
# Reports have a limit even where nobody has set one: browsers send them for every page.
REPORTS = "reports of "
REPORTS_PER_S = 50.0


class Crew(Protocol):
    """The workers, as the admin API needs them."""

    @property
    def workers(self) -> Mapping[str, Worker]: ...

    async def requeue(self, rows: list[Delivery]) -> None:
        """Set rows to waiting again, durably, and hand them to their workers."""

    async def try_orders(self, orders: Sequence[Order]) -> None:
        """Set orders to waiting again, durably, and hand them to those who send them."""

    def on_the_wire(self, order: Order) -> bool:
        """Whether an order is being sent at this moment."""


@dataclass
class Bucket:
    """A token bucket: ``rate`` events per second, a burst of ten seconds' worth."""

    rate: float
    tokens: float = 0.0
    at: float = 0.0

    def take(self, count: int, now: float) -> float:
        """Seconds to wait before ``count`` may pass; 0 when they may pass now.

        More than the whole burst passes when the bucket is full, and empties it for longer.
        """
        burst = max(self.rate * 10, 1.0)
        if self.at == 0.0:
            self.tokens = burst
        else:
            self.tokens = min(burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens >= min(count, burst):
            self.tokens -= count
            return 0.0
        return (min(count, burst) - self.tokens) / self.rate


@dataclass
class Site:
    """One serving workspace."""

    config: Config
    world: World
    crew: Crew
    meters: Meters
    ledger_key: str = ""
    buckets: dict[str, Bucket] = field(default_factory=dict)
    in_progress: int = 0
    room: Room = field(default_factory=lambda: Room(MOST_BYTES))
    # Events may not crowd out choices here either.
    choice_room: Room = field(default_factory=lambda: Room(MOST_CHOICE_BYTES))
    places: Places = field(default_factory=Places)
    most_streams: int = 1000
    heartbeat_s: float = 15.0  # of streams
    streams: Counter[str] = field(default_factory=Counter)  # by network
    anonymous_streams: int = 0
    closing: asyncio.Event = field(default_factory=asyncio.Event)  # answers without end, end
    office: Office = field(default_factory=Office)
    post_soon: Callable[[], None] = lambda: None
    strangers: Strangers = field(default_factory=Strangers)
    # A page's forms are of one process: after a restart people load the page anew.
    forms: Links = field(default_factory=lambda: Links([Secret(secrets.token_urlsafe(32))]))
    foreign: ForeignTexts = field(default_factory=ForeignTexts)
    at_work: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.take_config(self.config)

    def take_config(self, config: Config) -> None:
        """Another configuration, already found good."""
        self.config = config
        self._public_headers: dict[str, Source] = {}
        self._documents: tuple[Notices, dict[Any, tuple[bytes, str]]] = (self.world.notices, {})
        self._keys = {
            _digest(key): source
            for source in config.sources
            for key in (*source.write_keys, *(k.reveal() for k in source.secret_keys))
        }
        self.places.take(config.server)
        self.world.locate = self.places.locate
        rates = {
            lane + s.name: s.rate_limit
            for s in config.sources
            if s.rate_limit is not None
            for lane in LANES
        } | {REPORTS + s.name: s.rate_limit or REPORTS_PER_S for s in config.sources}
        kept = {n: b for n, b in self.buckets.items() if rates.get(n) == b.rate}
        self.buckets = {name: kept.get(name) or Bucket(rate) for name, rate in rates.items()}

    def documents_of(self, notices: Notices) -> dict[Any, tuple[bytes, str]]:
        """Policy documents that were made of these notices; of none before them."""
        if notices is not self._documents[0]:
            self._documents = (notices, {})
        return self._documents[1]

    def source_of(self, key: str) -> Source | None:
        """Looked up by digest, so that how long it takes says nothing about the keys."""
        return self._keys.get(_digest(key))

    def is_admin(self, key: str) -> bool:
        matches = [secret.matches(key) for secret in self.config.server.admin_keys]
        return any(matches)

    # -- who speaks ---------------------------------------------------------------------------
    def tracking_source(self, request: Asked, body_key: object) -> Source | None:
        """The source by Basic, Bearer or body key. None when the key is not known.

        Raises Problem: 401 without any key, 400 where two keys contradict each other.
        """
        if body_key is None and (known := self.known_source(request)) is not None:
            return known
        header = request_key(request)
        if body_key is not None and not isinstance(body_key, str):
            raise Problem(400, "invalid_type", "writeKey must be a string", "writeKey")
        if header and body_key and is_bearer(request) and self.source_of(header) is None:
            header = None  # an OAuth token beside the write key: the key says which source it is
        keys = [key for key in (header, body_key) if key]
        if not keys:
            message = "send the write key as Basic user name or as writeKey in the body"
            raise Problem(401, "missing_key", message, authenticate=True)
        sources = [self.source_of(key) for key in keys]
        if len(keys) == 2 and sources[0] is not sources[1]:
            raise Problem(400, "key_conflict", "the header and the body name different keys")
        source = sources[0]
        if body_key is None and source is not None and not source.trusted:
            self._remember(request.headers["authorization"], source)
        return source

    def _remember(self, header: str, source: Source) -> None:
        """Few headers name a public key, but what stands after its colon is anybody's."""
        if len(self._public_headers) >= MOST_HEADERS:
            self._public_headers.clear()
        self._public_headers[header] = source

    def known_source(self, request: Asked) -> Source | None:
        """The public source of a header that was read before: a page's header is no secret."""
        return self._public_headers.get(request.headers.get("authorization", ""))

    def check_origin(self, source: Source, request: Asked) -> None:
        """A browser's origin must be one that the source allows. Raises Problem 403."""
        origin = request.headers.get("origin")
        if origin and source.origins and origin not in source.origins:
            message = "this origin may not use this write key; add it to the source's origins"
            raise Problem(403, "origin_not_allowed", message)

    def check_rate(self, source: Source, count: int, lane: str = EVENTS) -> None:
        """Raises Problem 429 with Retry-After. Choices have a lane of their own."""
        bucket = self.buckets.get(lane + source.name)
        wait_s = bucket.take(count, time.monotonic()) if bucket is not None else 0.0
        if wait_s > 0:
            # SDKs clamp what they are asked to wait at 300 seconds.
            seconds = min(300, max(1, int(wait_s + 0.999)))
            message = f"source {source.name} is over its rate limit"
            raise Problem(429, "rate_limited", message, retry_after_s=seconds)

    def origin_of(self, source: Source, request: Asked, now: Moment) -> Origin:
        """The door: a server source is trusted; a public one may carry a subject token."""
        if source.trusted:
            return Origin(source.name, "server")
        user = self.proven_user(source, request, now)
        return Origin(source.name, "public", user, self.place_of(request))

    def proven_user(self, source: Source, request: Asked, now: Moment) -> str | None:
        token = request.headers.get(SUBJECT_TOKEN)
        if not token:
            return None
        user = next(
            (u for s in source.subject_token_secrets if (u := read_token(token, s, source, now))),
            None,
        )
        if user is None:
            self.meters.refused_tokens.labels(source.name).inc()
        return user

    def require_admin(self, request: Asked) -> None:
        """Raises Problem 401, or 403 for a key that is known but not the admin's."""
        key = request_key(request)
        if key is not None and self.is_admin(key):
            return
        message = "send [server].admin_key as a Bearer token"
        if key is not None and self.source_of(key) is not None:
            raise Problem(403, "forbidden", f"a source's key may not do this: {message}")
        raise Problem(401, "unauthorized", message)

    def client_ip(self, request: Asked) -> str | None:
        """The caller, or what a trusted proxy says of it: the last hop that is no proxy.

        What stands before something that is no IP address was said by nobody that is known.
        """
        address = request.client.host if request.client else None
        # Some proxies add a line of their own below the one that they were sent.
        forwarded = request.headers.getlist("x-forwarded-for")
        return self._behind_proxies(address, ",".join(forwarded).split(","))

    def place_of(self, request: Asked) -> Place:
        """Where the visitor is: by what a trusted proxy says, else by the address.

        Not asked of a server's request: behind it stands no visitor.
        """
        if not self.places.looks:
            return NOBODY_LOOKED
        peer = request.client.host if request.client else None
        believed = peer is not None and self._trusted_proxy(peer)
        place = self.places.find(
            request.headers if believed else None, lambda: self.client_ip(request)
        )
        self.meters.places.labels(place.how).inc()
        return place

    def _behind_proxies(self, address: str | None, forwarded: list[str]) -> str | None:
        if forwarded == [""]:
            return address
        while address is not None and forwarded and self._trusted_proxy(address):
            hop = forwarded.pop().strip()
            if not _is_address(hop):
                break
            address = hop
        return address

    def _trusted_proxy(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self.config.server.trusted_proxies)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_bearer(request: Asked) -> bool:
    """Whether the Authorization header is of the Bearer scheme."""
    return request.headers.get("authorization", "").lower().startswith("bearer ")


def request_key(request: Asked) -> str | None:
    """The key in the Authorization header: Bearer, or the user name of Basic."""
    header = request.headers.get("authorization")
    if not header:
        return None
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        raise Problem(401, "unauthorized", "use Basic or Bearer authorization", authenticate=True)
    try:
        text = base64.b64decode(value.strip(), validate=True).decode()
    except ValueError:  # no ASCII, no base64, no UTF-8
        raise Problem(401, "unauthorized", "the Basic authorization is unreadable") from None
    return text.partition(":")[0]  # the colon is sometimes missing


def read_token(token: str, secret: Secret, source: Source, now: Moment) -> str | None:
    """The user that a subject token proves at ``now``, or None for any doubt at all."""
    # Loaded with the first token: a start does not wait for it.
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import OctKey

    try:
        claims = jwt.decode(token, OctKey.import_key(secret.reveal()), algorithms=["HS256"]).claims
    except (JoseError, ValueError, RecursionError):
        return None
    issued, expires, user = claims.get("iat"), claims.get("exp"), claims.get("sub")
    if claims.get("typ") != "subject" or claims.get("aud") != source.name:
        return None
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        return None
    seconds = now / SECOND
    if not issued - 5 <= seconds <= expires or expires - issued > LONGEST_TOKEN_LIFE_S:
        return None
    return user if isinstance(user, str) and user else None


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
