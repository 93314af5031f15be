"""What the listener bears of those who are slow, greedy, many or ambiguous."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import replace

import pytest

from consentry.web.listener import Limits
from tests.web.listening import House, Visitor, get, house, until

LONG = Limits(connections=100)
SHORT = replace(LONG, head_s=0.3)
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def drip(visitor: Visitor, piece: bytes) -> None:
    """Byte by byte until the server has had enough."""
    while not visitor.reader.at_eof():
        await visitor.say(piece)
        await asyncio.sleep(0.02)


async def told_or_cut_off(visitor: Visitor) -> int | None:
    """The status; None where a byte met a closed connection, and the reset overtook the answer."""
    try:
        return (await visitor.hear())[0]
    except ConnectionResetError:
        return None


# -- slow ----------------------------------------------------------------------------------------
async def test_who_connects_and_says_nothing_is_let_go() -> None:
    async with house(SHORT) as here:
        visitor = await here.connect()
        assert await visitor.ended() == b""
        await until(lambda: here.connections == 0, "the connection is gone")


@pytest.mark.parametrize(
    "begun", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: "]
)
async def test_a_head_that_never_ends_is_told_so(begun: bytes) -> None:
    async with house(SHORT) as here:
        visitor = await (await here.connect()).say(begun)
        assert (await visitor.hear()) == (
            408,
            {"code": "timeout", "message": "the head of the request did not arrive in time"},
        )
        assert await visitor.ended() == b""
        await until(lambda: here.connections == 0, "the connection is gone")
        assert here.seen == []


async def test_a_byte_now_and_then_does_not_buy_time() -> None:
    async with house(SHORT) as here:
        visitor = await (await here.connect()).say(b"GET / HTTP/1.1\r\nHost: x\r\nA: ")
        dripping = asyncio.create_task(drip(visitor, b"a"))
        assert await told_or_cut_off(visitor) in (408, None)
        await until(lambda: here.connections == 0, "the connection is gone")
        visitor.leave()
        dripping.cancel()


async def test_after_an_answer_the_next_head_is_due_from_its_first_byte() -> None:
    async with house(SHORT) as here:
        visitor = await (await here.connect()).say(get("/one"))
        assert (await visitor.hear())[0] == 200
        await visitor.say(b"G")  # uvicorn stops its own clock here
        assert (await visitor.hear())[0] == 408
        await visitor.ended()


async def test_a_connection_that_is_kept_is_let_go_when_nothing_comes() -> None:
    async with house(LONG, keep_alive_s=1) as here:
        visitor = await (await here.connect()).say(get("/one"))
        assert (await visitor.hear())[0] == 200
        assert await visitor.ended() == b""
        await until(lambda: here.connections == 0, "the connection is gone")


async def test_a_deadline_does_not_end_a_request_that_is_worked_on() -> None:
    async with house(SHORT) as here:
        visitor = await (await here.connect()).say(get("/hold"))
        await until(lambda: here.seen, "the request is there")
        idle = await here.connect()
        await idle.ended()  # longer than a head may take
        here.held.set()
        assert (await visitor.hear()) == (200, {"path": "/hold", "bytes": 0})


async def test_a_body_that_never_ends_is_told_so() -> None:
    async with house(LONG, body_s=0.3) as here:
        visitor = await (await here.connect()).say(POST + b"Content-Length: 10\r\n\r\n")
        dripping = asyncio.create_task(drip(visitor, b""))
        assert (await visitor.hear())[0] == 408
        dripping.cancel()


async def test_the_rest_of_a_body_after_the_answer_does_not_hold_the_connection() -> None:
    async with house(SHORT, body_s=0.1) as here:
        visitor = await (await here.connect()).say(POST + b"Content-Length: 100000\r\n\r\n")
        assert (await visitor.hear())[0] == 408
        dripping = asyncio.create_task(drip(visitor, b"x"))
        await until(lambda: here.connections == 0, "the connection is gone")
        dripping.cancel()


async def test_who_does_not_read_is_let_go() -> None:
    async with house(replace(LONG, write_s=0.3)) as here:
        visitor = await here.connect()
        visitor.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await visitor.say(get("/large"))
        await until(lambda: here.seen, "the request is there")
        await until(lambda: here.connections == 0, "the connection is gone")


async def test_who_reads_slowly_gets_it_all() -> None:
    async with house(replace(LONG, write_s=5)) as here:
        visitor = await (await here.connect()).say(get("/large", "Connection: close"))
        assert len(await visitor.ended()) > 20_000_000


# -- greedy --------------------------------------------------------------------------------------
GREEDY = {
    "a long header": b"X: " + b"a" * 40_000,
    "many headers": b"X: a\r\n" * 101,
    "many short headers": b"a:\r\n" * 5000,
    "a long name": b"a" * 40_000,
}


@pytest.mark.parametrize("case", GREEDY)
async def test_a_head_that_is_too_large(case: str) -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(get()[:-2] + GREEDY[case])
        assert (await visitor.hear())[0] == 431
        await visitor.ended()
        assert here.seen == []


async def test_a_url_that_is_too_long() -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(b"GET /" + b"a" * 40_000)
        assert (await visitor.hear())[0] == 431


async def test_a_head_in_small_pieces_is_counted_whole() -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(get()[:-2])
        dripping = asyncio.create_task(drip(visitor, b"X: " + b"a" * 5000 + b"\r\n"))
        await until(lambda: here.connections == 0, "the connection is gone")
        dripping.cancel()
        assert here.seen == []


async def test_a_head_below_the_limits_is_taken() -> None:
    async with house(LONG) as here:
        headers = [f"X-{n}: {'a' * 300}" for n in range(99)]
        visitor = await (await here.connect()).say(get("/", *headers))
        assert (await visitor.hear())[0] == 200
        assert len(here.seen[0][3]) == 100


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [b"2;" + b"a" * 40_000, b"2\r\n{}\r\n0\r\n" + b"X: " + b"a" * 40_000],
    ids=["extension of a chunk", "trailer"],
)
async def test_what_stands_beside_a_body_is_counted_with_the_head(rest: bytes) -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(CHUNKED + rest)
        assert (await visitor.hear())[0] == 431
        await visitor.ended()


@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_a_body_in_many_small_chunks_is_taken(size: int) -> None:
    async with house(LONG) as here:
        chunks = b"%x\r\n%s\r\n" % (size, b"x" * size) * (50_000 // size)
        visitor = await (await here.connect()).say(CHUNKED + chunks + b"0\r\n\r\n")
        assert await visitor.hear() == (200, {"path": "/", "bytes": 50_000 // size * size})


async def test_a_trailer_is_no_header() -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(
            CHUNKED + b"2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"
        )
        assert (await visitor.hear())[0] == 200
        assert "authorization" not in dict(here.seen[0][3])


async def test_requests_sent_ahead_are_answered_in_order_up_to_a_number() -> None:
    async with house(replace(LONG, pipelined=10)) as here:
        visitor = await (await here.connect()).say(b"".join(get(f"/{n}") for n in range(10_000)))
        answered = [(await visitor.hear())[1]["path"] for _ in range(11)]
        assert answered == [f"/{n}" for n in range(11)]
        assert await visitor.ended() == b""  # the rest was not taken, and may be sent again
        assert [path for _, path, *_ in here.seen] == answered


async def test_what_came_whole_is_answered_before_what_is_no_http() -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(get("/one") + get("/two") + b"NONSENSE\r\n\r\n")
        assert [(await visitor.hear())[1]["path"] for _ in range(2)] == ["/one", "/two"]
        assert await visitor.ended() == b""


# -- many ----------------------------------------------------------------------------------------
FEW = replace(LONG, connections=5)


async def fill(here: House, count: int) -> list[Visitor]:
    made = [await (await here.connect()).say(b"GET / HTTP/1.1\r\n") for _ in range(count)]
    await until(lambda: here.connections == count, "all are there")
    return made


async def test_a_newcomer_takes_the_place_of_who_has_owed_for_the_longest() -> None:
    async with house(FEW) as here:
        waiting = await fill(here, 5)
        newcomer = await (await here.connect()).say(get("/new"))
        assert (await newcomer.hear())[0] == 200
        assert await waiting[0].ended() == b""
        await waiting[1].say(b"Host: x\r\n\r\n")
        assert (await waiting[1].hear())[0] == 200
        assert here.connections == 5


async def test_who_was_answered_last_stays_longest() -> None:
    async with house(FEW) as here:
        first, *others = [await here.connect() for _ in range(5)]
        for visitor in (*others, first):
            await visitor.say(get("/"))
            await visitor.hear()
        await (await here.connect()).say(get("/new"))
        assert await others[0].ended() == b""
        await first.say(get("/again"))
        assert (await first.hear())[1]["path"] == "/again"


async def test_a_slow_body_makes_room_too_but_a_request_that_is_worked_on_does_not() -> None:
    async with house(FEW) as here:
        slow = await (await here.connect()).say(POST + b"Content-Length: 10\r\n\r\n")
        working = [await (await here.connect()).say(get("/hold")) for _ in range(4)]
        await until(lambda: len(here.seen) == 4, "four are worked on")
        newcomer = await (await here.connect()).say(get("/new"))
        assert (await newcomer.hear())[0] == 200
        assert await slow.ended() == b""
        here.held.set()
        assert [(await one.hear())[0] for one in working] == [200] * 4


async def test_when_all_are_at_work_only_choices_are_taken() -> None:
    async with house(FEW) as here:
        working = [await (await here.connect()).say(get("/hold")) for _ in range(5)]
        await until(lambda: len(here.seen) == 5, "all are at work")
        turned = await (await here.connect()).say(get("/v1/batch"))
        status, told = await turned.hear()
        assert (status, told["code"]) == (503, "overloaded")
        await turned.ended()
        for path in ("/v1/consent/withdraw", "/v1/consent", "/healthz", "/readyz"):
            choice = await (await here.connect()).say(get(path, "Connection: close"))
            assert (await choice.hear())[0] == 200
            await choice.ended()
        here.held.set()
        assert [(await one.hear())[0] for one in working] == [200] * 5


async def test_choices_too_have_an_end() -> None:
    async with house(FEW) as here:
        here.worked_on = "/v1/consent"
        working = []
        for n in range(2 * FEW.connections):
            working.append(await (await here.connect()).say(get("/v1/consent")))
            await until(lambda n=n: len(here.seen) == n + 1, "it is worked on")
        one_more = await (await here.connect()).say(get("/v1/consent"))
        assert await one_more.ended() == b""
        assert here.connections == len(here.seen) == len(working)


def test_half_of_the_files_are_for_other_things() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, soft), hard))
        raised = Limits.of_process().connections
        allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == min(5000, allowed // 2)
        assert allowed == min(hard, 20_000) or allowed >= 20_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- ambiguous -----------------------------------------------------------------------------------
SMUGGLED = b"POST /smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
AMBIGUOUS = {
    "length, then chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 2\r\nContent-Length: 5\r\n\r\n{}",
    "the same length twice": b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a plus": b"Content-Length: +2\r\n\r\n{}",
    "a length below zero": b"Content-Length: -2\r\n\r\n{}",
    "a hexadecimal length": b"Content-Length: 0x2\r\n\r\n{}",
    "a length beyond 64 bits": b"Content-Length: 99999999999999999999\r\n\r\n{}",
    "a space before the colon": b"Content-Length : 2\r\n\r\n{}",
    "a folded line": b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a folded encoding": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked is not the last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked is not the only one": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a control character": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a bare carriage return": b"X: a\rContent-Length: 9\r\n\r\n",
    "a NUL": b"X: a\0b\r\n\r\n",
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 54\r\n\r\n",
    "an upgrade to WebSockets": b"Connection: a, upgrade\r\nUpgrade: websocket\r\n\r\n",
    "two hosts": b"Host: y\r\n\r\n",
    "a negative chunk": b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    "a chunk beyond 64 bits": b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF1\r\nx\r\n",
    "a chunk line with LF alone": b"Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
    "a trailer with a length": (
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"
    ),
}


async def test_a_request_with_two_readings_has_none() -> None:
    taken: dict[str, object] = {}
    async with house(LONG) as here:
        for case, rest in AMBIGUOUS.items():
            visitor = await (await here.connect()).say(POST + rest + SMUGGLED)
            status, told = await visitor.hear()
            if (status, told["code"], await visitor.ended()) != (400, "invalid_http", b""):
                taken[case] = told
        assert taken == {}
        assert "/smuggled" not in [path for _, path, *_ in here.seen]


@pytest.mark.parametrize("target", [b"/\xff", b"/?\xff", b"/a b", b"/\0", b""])
async def test_a_request_line_that_is_none(target: bytes) -> None:
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % target)
        assert (await visitor.hear())[1]["code"] == "invalid_http"
        assert here.seen == []


async def test_a_length_that_is_too_small_makes_the_rest_a_request_of_its_own() -> None:
    """As every reader sees it; what is no request ends the connection."""
    async with house(LONG) as here:
        visitor = await (await here.connect()).say(POST + b"Content-Length: 1\r\n\r\n{}")
        assert (await visitor.hear())[1]["bytes"] == 1
        visitor.writer.write(b"\r\n\r\n")
        await visitor.ended()
        assert len(here.seen) == 1
