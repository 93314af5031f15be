"""The stream ends when its proof does, tells what time changes, and lets go of who left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from starlette.requests import Request

from consentry.clock import Clock
from consentry.compose import Running, begin
from consentry.config import Config, read_config
from consentry.core.moment import DAY, SECOND
from consentry.core.policy import Policy
from consentry.core.record import Node, NodeKind
from consentry.destinations.registry import KINDS
from consentry.destinations.transport import OutboundClient
from consentry.flow.record_choice import answer_of, record_choice
from consentry.flow.records import Origin, Said
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.store.memory import MemoryStore
from consentry.web.problems import Problem
from consentry.web.site import Site
from consentry.web.strangers import network_key
from consentry.web.stream import MOST_OF_ADDRESS, _make_room, events
from tests.e2e.asking import proof
from tests.running import TOKEN_SECRET
from tests.store.makers import notary

CONFIG = """
[workspace]
name = "Acme"
[store]
url = "memory://"
[[category]]
id = "analytics"
max_age_days = 10
[[source]]
name = "website"
write_key = "wk_website"
subject_token_secret = "env:TOKEN"
"""
ANN, DEV = Node(NodeKind.ACCOUNT, "ann"), Node(NodeKind.DEVICE, "dev")
PUBLIC = Origin("website", "public")


class Wall:
    """A wall clock that a test can set."""

    def __init__(self) -> None:
        self.ahead_ns = 0
        self.clock = Clock(wall_ns=lambda: Clock().now() * 1000 + self.ahead_ns)

    def pass_(self, microseconds: int) -> None:
        self.ahead_ns += microseconds * 1000


@pytest.fixture
def wall() -> Wall:
    return Wall()


@pytest.fixture
async def site(wall: Wall) -> AsyncIterator[Site]:
    config: Config = read_config(CONFIG, {"TOKEN": TOKEN_SECRET}, kinds=KINDS)
    store = MemoryStore(notary(), clock=wall.clock.now)
    world = World(store, Subjects(store), wall.clock, Policy("Acme"), 0)
    running = Running(config, world, OutboundClient())
    await begin(running, "")
    running.site.heartbeat_s = 0.01
    yield running.site
    await running.stop()


def page(**headers: str) -> Request:
    sent = {"Authorization": "Basic d2tfd2Vic2l0ZTo=", **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "method": "GET", "path": "/v1/stream", "headers": raw}
    return Request({**scope, "client": ("192.0.2.9", 1), "query_string": b""})


async def choose(site: Site, node: Node, **answers: bool) -> None:
    now = site.world.clock.now()
    said = Said((node,), answer_of(answers, None), now, now)
    await record_choice(site.world, said, Origin("backend", "server"))


async def told(stream: AsyncIterator[bytes]) -> bytes:
    """The next event; heartbeats in between are let by."""
    async for part in stream:
        if part.startswith(b"event: preferences\n"):
            return part
        assert part.startswith(b":")
    return b""


async def test_it_ends_with_the_token_that_opened_it(site: Site, wall: Wall) -> None:
    stream = events(site, page(**proof("ann")), (ANN,), of_user("ann"))
    assert b'"state":"never_collected"' in await told(stream)
    wall.pass_(700 * SECOND)  # a token of the tests lives ten minutes
    assert await asyncio.wait_for(told(stream), 5) == b""
    assert site.world.followers.count == 0


async def test_it_ends_when_the_key_is_taken_away(site: Site) -> None:
    stream = events(site, page(), (DEV,), PUBLIC)
    await told(stream)
    sources = (replace(site.config.sources[0], write_keys=("wk_new",)),)
    site.take_config(replace(site.config, sources=sources))
    assert await asyncio.wait_for(told(stream), 5) == b""


async def test_a_grant_that_fades_is_told_without_a_record(site: Site, wall: Wall) -> None:
    await choose(site, DEV, analytics=True)
    stream = events(site, page(), (DEV,), PUBLIC)
    assert b'"effective":"granted"' in await told(stream)
    wall.pass_(11 * DAY)
    assert b'"why":"expired"' in await asyncio.wait_for(told(stream), 5)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_a_change_while_nobody_reads_is_not_lost(site: Site) -> None:
    site.heartbeat_s = 60
    stream = events(site, page(), (DEV,), PUBLIC)
    await told(stream)
    for yes in (True, False, True):
        await choose(site, DEV, analytics=yes)
    assert b'"effective":"granted"' in await asyncio.wait_for(told(stream), 5)
    await choose(site, DEV, analytics=False)
    assert b'"effective":"denied"' in await asyncio.wait_for(told(stream), 5)
    await stream.aclose()  # type: ignore[attr-defined]


async def test_who_left_is_forgotten(site: Site) -> None:
    stream = events(site, page(**proof("ann")), (DEV, ANN), of_user("ann"))
    assert await told(stream)
    followers = site.world.followers
    assert (followers.count, followers.following(DEV), followers.following(ANN)) == (1, 1, 1)
    assert site.streams == {"192.0.2.9": 1}
    await stream.aclose()  # type: ignore[attr-defined]
    assert (followers.count, followers.following(DEV), followers.following(ANN)) == (0, 0, 0)
    assert site.streams == {}
    await choose(site, DEV, analytics=True)  # tells nobody, and is no fault


def of_user(user: str) -> Origin:
    return Origin("website", "public", user)


def crowd(site: Site, count: int) -> list[Node]:
    """So many devices that are followed, as strangers can name them."""
    return [Node(NodeKind.DEVICE, f"stranger-{n}") for n in range(count)]


async def test_strangers_leave_room_for_who_has_proven_an_account(site: Site) -> None:
    site.most_streams = 8
    followed = [events(site, page(), (node,), PUBLIC) for node in crowd(site, 2)]
    for one in followed:
        await anext(one)

    with pytest.raises(Problem) as refused:
        _make_room(site, (DEV,), "")
    assert refused.value.status == 503
    _make_room(site, (DEV, ANN), "")
    await followed[0].aclose()
    _make_room(site, (DEV,), "")
    await followed[1].aclose()
    assert site.anonymous_streams == 0


async def test_one_ipv6_network_is_one_address(site: Site) -> None:
    site.streams[network_key("2001:db8:0:1::1")] = MOST_OF_ADDRESS

    with pytest.raises(Problem) as refused:
        _make_room(site, (DEV,), network_key("2001:db8:0:1:ffff::2"))
    assert refused.value.status == 429
    _make_room(site, (DEV,), network_key("2001:db8:0:2::1"))
