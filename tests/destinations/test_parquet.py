"""Parquet files, on a real file system and read by a real reader."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade, Outcome
from consentry.destinations.message import Attempted, LastLookRefused, Message
from consentry.destinations.parquet import Options, Parquet, name_of, outcome_of, row_for
from consentry.destinations.transport import OutboundClient
from tests.destinations.messages import NOON, track

DAY = 86_400.0


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient()
    yield client
    await client.close()


Connect = Callable[..., Parquet]


@pytest.fixture
def connect(client: OutboundClient, tmp_path: Path) -> Connect:
    def connect(path: Path = tmp_path / "events", **said: Any) -> Parquet:
        return Parquet(Options(path=str(path), **said), client)

    return connect


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def grades(attempted: Attempted) -> list[Grade]:
    return [outcome.grade for outcome in attempted.outcomes]


def only(attempted: Attempted) -> Outcome:
    (outcome,) = attempted.outcomes
    return outcome


# Accepted


async def test_a_batch_is_one_file_whose_rows_are_the_events(
    connect: Connect, tmp_path: Path
) -> None:
    batch = [
        track("m1", user_id="u", received=2, properties={"a": "ü\0"}, context={"ip": "::1"}),
        track("m2", anonymous_id=None, user_id="u", traits={"b": 1}),
    ]
    attempted = await connect().send(batch, None)
    assert grades(attempted) == [Grade.CONFIRMED] * 2
    (file,) = files(tmp_path / "events")
    assert file.parent.name == "date=2026-11-05"
    with pq.ParquetFile(file) as opened:
        assert opened.metadata.row_group(0).column(0).compression == "ZSTD"
        table = opened.read()
    assert table.schema.field("timestamp").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("consent").type == pa.map_(pa.string(), pa.bool_())
    first, second = table.to_pylist()
    assert (first["message_id"], first["type"], first["event"]) == (
        "m1",
        "track",
        "Order Completed",
    )
    assert (first["anonymous_id"], first["user_id"]) == ("device-1", "u")
    assert first["timestamp"] == NOON
    assert (first["received_at"] - NOON).total_seconds() == 2
    assert json.loads(first["properties"]) == {"a": "ü\0"}
    assert json.loads(first["context"]) == {"ip": "::1"}
    assert dict(first["consent"]) == {"analytics": True, "advertising": False}
    assert json.loads(first["body"]) == batch[0].body
    assert (second["anonymous_id"], second["properties"]) == (None, None)
    assert json.loads(second["traits"]) == {"b": 1}


async def test_the_same_batch_again_overwrites_its_own_file(
    connect: Connect, tmp_path: Path
) -> None:
    batch = [track("a"), track("b", received=DAY)]
    for order in (batch, batch[::-1]):
        assert grades(await connect().send(order, None)) == [Grade.CONFIRMED] * 2
    assert len(files(tmp_path / "events")) == 1
    await connect().send([track("a")], None)
    assert len(files(tmp_path / "events")) == 2


async def test_a_draft_left_by_a_sudden_end_is_not_read_and_goes_with_the_retry(
    connect: Connect, tmp_path: Path
) -> None:
    target = tmp_path / "events" / name_of([row_for(track("a"))])
    target.parent.mkdir(parents=True)
    (target.parent / f".{target.name}.tmp").write_bytes(b"PAR1 and then the power went")
    await connect().send([track("b")], None)
    read = ds.dataset(tmp_path / "events", format="parquet", partitioning="hive").to_table()
    assert read["message_id"].to_pylist() == ["b"]
    await connect().send([track("a")], None)
    assert [path.suffix for path in files(tmp_path / "events")] == [".parquet", ".parquet"]


async def test_attempts_side_by_side_each_make_their_file(connect: Connect, tmp_path: Path) -> None:
    destination = connect()
    await asyncio.gather(*(destination.send([track(f"m{n}")], None) for n in range(4)))
    assert len(files(tmp_path / "events")) == 4


async def test_the_files_are_not_for_everybody(connect: Connect, tmp_path: Path) -> None:
    await connect().send([track("a")], None)
    (file,) = files(tmp_path / "events")
    assert file.stat().st_mode & 0o007 == 0


UNSENDABLE = {
    "a lone surrogate in an id": track("\ud800"),
    "a lone surrogate in JSON": track("m", properties={"a": "\ud800"}),
    "no readable time": replace(track("m"), timestamp="yesterday"),
    "a time without a zone": replace(track("m"), received_at="2026-11-05T12:00:00"),
    "a time before time": replace(track("m"), timestamp="0001-01-01T00:00:00+14:00"),
    "no JSON": track("m", properties={"a": object()}),
}


@pytest.mark.parametrize("bad", UNSENDABLE.values(), ids=UNSENDABLE)
async def test_an_event_that_cannot_be_a_row_is_final_for_itself_only(
    bad: Message, connect: Connect, tmp_path: Path
) -> None:
    attempted = await connect().send([track("a"), bad, track("z")], None)
    assert grades(attempted) == [Grade.CONFIRMED, Grade.FAILED_FINAL, Grade.CONFIRMED]
    (file,) = files(tmp_path / "events")
    assert pq.read_table(file)["message_id"].to_pylist() == ["a", "z"]


async def test_a_batch_of_nothing_but_bad_events_makes_no_file(
    connect: Connect, tmp_path: Path
) -> None:
    assert grades(await connect().send([track("\ud800")], None)) == [Grade.FAILED_FINAL]
    assert not (tmp_path / "events").exists()


async def test_when_the_last_look_raises_nothing_is_on_the_disk(
    connect: Connect, tmp_path: Path
) -> None:
    def look() -> None:
        raise LastLookRefused

    with pytest.raises(LastLookRefused):
        await connect().send([track("a")], look)
    assert not (tmp_path / "events").exists()


# Refused and busy


async def test_a_file_in_place_of_the_directory_is_final_and_pauses(
    connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "events").write_text("in the way")
    outcome = only(await connect().send([track("a")], None))
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_FINAL, True)
    assert "NOTDIR" in outcome.detail or "EEXIST" in outcome.detail
    assert str(tmp_path) not in outcome.detail


async def test_a_directory_in_place_of_the_file_leaves_no_draft(
    connect: Connect, tmp_path: Path
) -> None:
    (tmp_path / "events" / name_of([row_for(track("a"))])).mkdir(parents=True)
    outcome = only(await connect().send([track("a")], None))
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_FINAL, True)
    assert files(tmp_path / "events") == []


async def test_a_full_disk_is_tried_again(connect: Connect) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.fail("this test needs /dev/full")
    with pytest.raises(OSError, match="No space left") as raised, full.open("wb", 0) as file:
        file.write(b"x")
    outcome = outcome_of(raised.value)
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_RETRY, False)
    assert "ENOSPC" in outcome.detail


@pytest.mark.parametrize("permission", [PermissionError(13, "secret/path")])
def test_a_directory_that_is_not_ours_pauses(permission: OSError) -> None:
    outcome = outcome_of(permission)
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_FINAL, True)
    assert "secret" not in outcome.detail


# Limits


async def test_a_smaller_limit_is_told_and_held(connect: Connect) -> None:
    destination = connect(max_rows=2)
    assert destination.spec.batch_max == 2
    for count in (0, 3):
        with pytest.raises(ValueError, match="a batch holds 1 to 2"):
            await destination.send([track(f"m{n}") for n in range(count)], None)


@pytest.mark.parametrize("changed", [{"path": ""}, {"path": "a\0"}, {"max_rows": 0}, {"x": 1}])
def test_options_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": "events", **changed}, Options)


ID = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@given(st.lists(ID, min_size=1, max_size=4), st.lists(ID, min_size=1, max_size=4))
def test_two_batches_share_a_name_only_if_they_hold_the_same_ids(
    one: list[str], other: list[str]
) -> None:
    names = [name_of([row_for(track(message_id)) for message_id in ids]) for ids in (one, other)]
    assert (names[0] == names[1]) is (sorted(one) == sorted(other))
    assert os.path.normpath(names[0]) == names[0]
