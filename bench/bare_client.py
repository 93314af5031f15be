"""aiohttp alone, with the pool settings of the product; see fanout.py.

    python -m bench.bare_client PORT

For every line ``COUNT`` read: sends so many POSTs of 1 KB to each of five paths, eight at once for
each, and prints the CPU seconds that it took.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp
import uvloop

from bench.server import NEEDS
from consentry.destinations import pool
from consentry.worker import Pace

BODY = b'{"type":"track","data":"' + b"x" * 1000 + b'"}'
HEADERS = {"Content-Type": "application/json", "Accept-Encoding": "identity"}


async def send(session: aiohttp.ClientSession, url: str, count: int) -> None:
    left = iter(range(count))

    async def one_after_the_other() -> None:
        for _ in left:
            async with session.post(url, data=BODY, headers=HEADERS, allow_redirects=False) as got:
                assert got.status == 200
                await got.read()

    await asyncio.gather(*(one_after_the_other() for _ in range(Pace().concurrency)))


async def main(port: int) -> None:
    connector = aiohttp.TCPConnector(
        limit=pool.CONNECTIONS,
        limit_per_host=pool.CONNECTIONS_PER_HOST,
        keepalive_timeout=pool.KEEPALIVE_S,
        use_dns_cache=False,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
    ) as session:
        urls = [f"http://127.0.0.1:{port}/bare{n}" for n in range(len(NEEDS))]
        while line := await asyncio.to_thread(sys.stdin.readline):
            began = time.process_time()
            await asyncio.gather(*(send(session, url, int(line)) for url in urls))
            print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
