"""A changed file is noticed once, whole, and only if it says something new."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consentry.config.watch import WatchedFile, watch

PATIENCE_S = 10  # how long a test waits for what must come


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "consentry.toml"
    path.write_text("one")
    return path


def settle(watched: WatchedFile) -> str | None:
    """Two looks at a file that does not change in between."""
    assert watched.look() is None
    return watched.look()


def test_a_change_is_taken_once_it_has_settled(file: Path) -> None:
    watched = WatchedFile(file, "one")
    assert settle(watched) is None

    file.write_text("two")
    assert watched.look() is None  # it may still be being written
    file.write_text("two and")
    assert watched.look() is None
    assert watched.look() == "two and"
    assert settle(watched) is None


def test_a_file_that_was_only_touched_says_nothing_new(file: Path) -> None:
    watched = WatchedFile(file, "one")
    settle(watched)

    os.utime(file, ns=(1, 1))

    assert settle(watched) is None


def test_what_was_changed_before_the_first_look_is_noticed(file: Path) -> None:
    assert settle(WatchedFile(file, "none")) == "one"


def test_a_file_put_in_the_place_of_the_old_one_is_noticed(file: Path) -> None:
    watched = WatchedFile(file, "one")
    settle(watched)
    old = file.stat()
    other = file.with_suffix(".new")
    other.write_text("two")
    os.utime(other, ns=(old.st_atime_ns, old.st_mtime_ns))  # only the inode tells them apart
    other.replace(file)

    assert settle(watched) == "two"


def test_a_link_to_another_file_is_noticed(tmp_path: Path, file: Path) -> None:
    link, other = tmp_path / "link", tmp_path / "other"
    other.write_text("two")
    link.symlink_to(file)
    watched = WatchedFile(link, "one")
    settle(watched)
    link.unlink()
    link.symlink_to(other)

    assert settle(watched) == "two"


@asynccontextmanager
async def watching(
    file: Path, text: str | None = None
) -> AsyncIterator[tuple[asyncio.Queue[str], asyncio.Queue[str]]]:
    """A running watch: its changes and its errors."""
    changes: asyncio.Queue[str] = asyncio.Queue()
    faults: asyncio.Queue[str] = asyncio.Queue()
    running = asyncio.create_task(
        watch(file, changes.put, text=text, on_error=faults.put_nowait, poll_s=0.002)
    )
    try:
        yield changes, faults
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def soon(queue: asyncio.Queue[str]) -> str:
    async with asyncio.timeout(PATIENCE_S):
        return await queue.get()


async def test_changes_arrive_in_order_and_each_once(file: Path) -> None:
    async with watching(file, "one") as (changes, faults):
        for text in ("two", "three", "four"):
            file.write_text(text)
            assert await soon(changes) == text

        assert changes.empty()
        assert faults.empty()


async def test_a_missing_file_is_reported_once_until_it_is_back(file: Path) -> None:
    async with watching(file, "one") as (changes, faults):
        for text in ("two", "three"):
            file.unlink()
            assert await soon(faults) == f"{file} cannot be read: No such file or directory"
            file.write_text(text)
            assert await soon(changes) == text

        assert faults.empty()


async def test_bytes_that_are_no_text_are_reported_and_nothing_is_changed(file: Path) -> None:
    async with watching(file, "one") as (changes, faults):
        file.write_bytes(b"\xff")
        assert "not UTF-8" in await soon(faults)
        file.write_text("two")
        assert await soon(changes) == "two"

        assert faults.empty()


async def test_without_a_known_text_the_present_one_is_known(file: Path) -> None:
    async with watching(file) as (changes, faults):
        for number in range(1000):  # another text each time: when the watch begins is not told
            file.write_text(f"text {number}")
            try:
                async with asyncio.timeout(0.02):
                    first = await changes.get()
            except TimeoutError:
                continue
            break

        assert first.startswith("text ")
        assert faults.empty()
