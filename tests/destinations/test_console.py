"""The console: what its lines show, and what they never do."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import AsyncIterator
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.core.delivery import Grade
from consentry.destinations.console import Console, Options, line_for
from consentry.destinations.message import LastLookRefused
from consentry.destinations.transport import OutboundClient
from tests.destinations.messages import track


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    client = OutboundClient()
    yield client
    await client.close()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_there_is_a_line_per_event_on_the_stream_that_was_chosen(
    stream: Literal["stdout", "stderr"],
    client: OutboundClient,
    capsys: pytest.CaptureFixture[str],
) -> None:
    attempted = await Console(Options(stream=stream), client).send([track("a"), track("b")], None)
    assert [outcome.grade for outcome in attempted.outcomes] == [Grade.SENT_UNVERIFIABLE] * 2
    written = capsys.readouterr()
    there, elsewhere = written if stream == "stdout" else written[::-1]
    assert there.splitlines() == [
        f'2026-11-05T12:00:00.000Z track message="{one}" anonymous="device-1"' for one in "ab"
    ]
    assert elsewhere == ""


async def test_a_json_line_is_the_event_and_its_consent(
    client: OutboundClient, capsys: pytest.CaptureFixture[str]
) -> None:
    message = track("a", properties={"name": "Zoë"})
    await Console(Options(format="json"), client).send([message], None)
    line = json.loads(capsys.readouterr().out)
    assert line == {"event": message.body, "consent": message.consent}


def test_a_short_line_shows_nothing_of_a_person_but_ids() -> None:
    message = track(
        "m",
        user_id="u",
        event="SECRET",
        properties={"email": "SECRET"},
        traits={"SECRET": 1},
        context={"ip": "SECRET"},
    )
    assert "SECRET" not in line_for(message, Options(format="short"))
    assert "SECRET" in line_for(message, Options(format="json"))


@given(st.text(max_size=20), st.sampled_from(["json", "short"]))
def test_no_id_can_end_its_line_or_steer_a_terminal(
    text: str, form: Literal["json", "short"]
) -> None:
    message = track(text, anonymous_id=text, user_id=text, event=text)
    line = line_for(message, Options(format=form))
    assert line.isascii()
    assert line.isprintable()


async def test_an_event_that_is_no_json_is_final_for_itself_only(
    client: OutboundClient, capsys: pytest.CaptureFixture[str]
) -> None:
    batch = [track("a"), track("b", properties={"a": object()}), track("c")]
    attempted = await Console(Options(format="json"), client).send(batch, None)
    sent, final = Grade.SENT_UNVERIFIABLE, Grade.FAILED_FINAL
    assert [outcome.grade for outcome in attempted.outcomes] == [sent, final, sent]
    assert len(capsys.readouterr().out.splitlines()) == 2


async def test_when_the_last_look_raises_nothing_is_written(
    client: OutboundClient, capsys: pytest.CaptureFixture[str]
) -> None:
    def look() -> None:
        raise LastLookRefused

    with pytest.raises(LastLookRefused):
        await Console(Options(), client).send([track("a")], look)
    assert capsys.readouterr().out == ""


class _Full(io.StringIO):
    """A stream whose other end takes nothing now."""

    def flush(self) -> None:
        raise BlockingIOError


def _closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [_closed(), None, _Full()], ids=["closed", "none", "busy"])
async def test_a_stream_that_takes_nothing_is_tried_again(
    stream: io.StringIO | None, client: OutboundClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    attempted = await Console(Options(), client).send([track("a")], None)
    monkeypatch.undo()
    (outcome,) = attempted.outcomes
    assert (outcome.grade, outcome.pause) == (Grade.FAILED_RETRY, False)


@pytest.mark.parametrize("changed", [{"stream": "file"}, {"format": "long"}, {"x": 1}])
def test_options_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(changed, Options)
