"""The command line against `consentry serve` itself, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from tests.cli.place import ENVIRONMENT, config_text, error_of, lines_of, run

START_S = 20.0


@dataclass
class Program:
    """A serving process."""

    process: subprocess.Popen[bytes]
    url: str
    config: Path
    store: Path

    def run(self, *args: str, stdin: str | None = None) -> Any:
        """A command that must succeed; its JSON document."""
        result = run(*args, "--json", stdin=stdin, CONSENTRY_SERVER=self.url)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def send(self, path: str, body: Any) -> None:
        """One tracking request of the public source."""
        data = json.dumps({"writeKey": "wk_website", **body}).encode()
        headers = {"Content-Type": "application/json"}
        with urlopen(Request(f"{self.url}{path}", data, headers), timeout=10) as response:
            assert response.status == 200


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    folder = tmp_path_factory.mktemp("served")
    config, store = folder / "consentry.toml", folder / "consentry.db"
    config.write_text(config_text(store))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = [sys.executable, "-m", "consentry", "serve", "--config", str(config)]
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [*args, "--port", str(port)],
            env={**os.environ, **ENVIRONMENT},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    program = Program(process, f"http://127.0.0.1:{port}", config, store)
    try:
        _await_ready(program, folder / "out")
        yield program
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _await_ready(program: Program, out: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and program.process.poll() is None:
        try:
            with urlopen(f"{program.url}/healthz", timeout=5):
                return
        except URLError:
            time.sleep(0.02)
    pytest.fail(f"the server did not start: {out.read_text()}")


def event(number: int, device: str, **preferences: bool) -> dict[str, Any]:
    return {
        "event": "Order",
        "type": "track",
        "messageId": f"m-{number}",
        "anonymousId": device,
        "context": {"consent": {"categoryPreferences": preferences}},
    }


def choice(device: str, **preferences: bool) -> dict[str, Any]:
    return event(0, device, **preferences) | {
        "event": "Segment Consent Preference Updated",
        "messageId": f"choice-{device}",
    }


def decisions(answer: Any) -> dict[str, tuple[str, str]]:
    found = answer["items"][0]["decisions"]
    return {d["destination"]: (d["decision"], d["reason"]) for d in found}


def test_explain_here_and_there_agree(program: Program) -> None:
    program.send("/v1/track", choice("a-1", analytics=True, advertising=False))
    for n, asked in enumerate(
        (
            event(1, "a-1", analytics=True, advertising=True),
            event(2, "a-1"),
            event(3, "nobody", analytics=True, advertising=True),
            choice("a-1", analytics=False, advertising=True),
        )
    ):
        text = json.dumps({**asked, "messageId": f"asked-{n}"})
        there = program.run("explain", stdin=text)
        here = program.run("explain", "--config", str(program.config), stdin=text)
        assert here["records"] > 0
        assert decisions(here) == decisions(there)
        assert here["policyVersion"] == there["policyVersion"]
    assert decisions(program.run("explain", stdin=json.dumps(event(4, "a-1", analytics=True)))) == {
        "warehouse": ("allow", "consented"),
        "ads": ("withhold", "filtered_by_end_user_consent"),
        "mirror": ("withhold", "unmapped"),
    }


def test_a_subject_is_shown_withdrawn_for_and_suppressed(program: Program) -> None:
    program.send("/v1/track", choice("a-2", analytics=True, advertising=True))
    who = ("--anonymous-id", "a-2")
    shown = program.run("subject", "show", *who)
    assert shown["preferences"]["analytics"]["effective"] == "granted"
    assert shown["history"]
    withdrawn = program.run("subject", "withdraw", *who, "--category", "analytics")
    assert withdrawn["preferences"]["analytics"]["effective"] == "denied"
    assert withdrawn["preferences"]["advertising"]["effective"] == "granted"
    program.run("subject", "withdraw", *who)
    assert program.run("subject", "suppress", *who)["suppressed"] is True
    assert program.run("subject", "show", *who)["suppressed"] is True
    assert program.run("subject", "unsuppress", *who)["suppressed"] is False
    for args in (("subject", "show", *who), ("destinations",), ("deliveries", "list")):
        assert run(*args, "--server", program.url).exit_code == 0


def test_everything_known_of_a_subject_is_written_to_a_file_for_its_owner(
    program: Program, tmp_path: Path
) -> None:
    program.send("/v1/track", {"anonymousId": "exported", "event": "Seen", "messageId": "x-1"})
    path = tmp_path / "exported.jsonl"
    args = ("subject", "export", "--anonymous-id", "exported", "--output", str(path))
    result = run(*args, CONSENTRY_SERVER=program.url)
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["subject", "event", "end"]
    assert lines[1]["message"]["event"] == "Seen"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "1 events" in result.output
    again = run(*args, CONSENTRY_SERVER=program.url)
    assert (again.exit_code, "exists already" in again.output) == (2, True)
    assert path.read_text().count("\n") == 3


def test_destinations_and_deliveries_are_listed(program: Program) -> None:
    found = program.run("destinations")["destinations"]
    assert [one["name"] for one in found] == ["warehouse", "ads", "mirror"]
    assert program.run("deliveries", "list") == {"deliveries": [], "next": None}
    assert program.run("deliveries", "retry", "--all") == {"retried": 0, "resumed": []}
    assert program.run("dead-letters", "list")["deadLetters"] == []
    assert program.run("dead-letters", "replay", "--destination", "ads") == {"replayed": 0}
    unknown = run("dead-letters", "replay", "--destination", "x", "--server", program.url)
    assert unknown.exit_code == 2
    assert "no destination has this name" in error_of(unknown)


def test_tail_shows_an_event_with_its_decisions(program: Program) -> None:
    args = [sys.executable, "-m", "consentry", "tail", "--json", "--server", program.url, "-n", "6"]
    environment = {**os.environ, **ENVIRONMENT}
    with subprocess.Popen(args, env=environment, stdout=subprocess.PIPE) as watching:
        seen = threading.Event()

        def send() -> None:
            number = 100
            while not seen.wait(0.05):  # until it watches; what came before it is not shown
                number += 1
                program.send("/v1/track", event(number, "a-3", analytics=True))

        sending = threading.Thread(target=send)
        sending.start()
        try:
            out, _ = watching.communicate(timeout=START_S)
        finally:
            seen.set()
            sending.join()
    assert watching.returncode == 0
    lines = lines_of(out.decode())
    assert len(lines) == 6
    event_line = next(line for line in lines if line["kind"] == "event")
    assert {d["destination"]: d["decision"] for d in event_line["decisions"]} == {
        "warehouse": "allow",
        "ads": "withhold",
        "mirror": "withhold",
    }


def test_an_import_is_recorded_once(program: Program, tmp_path: Path) -> None:
    file = tmp_path / "choices.csv"
    file.write_text(
        "userId,category.analytics,timestamp\n"
        "imported-1,yes,2026-01-31T12:00:00Z\nimported-2,no,2026-01-31T12:00:00Z\n"
    )
    first = program.run("import", str(file))
    assert (first["recorded"], first["repeated"]) == (2, 0)
    again = program.run("import", str(file))
    assert (again["recorded"], again["repeated"]) == (0, 2)
    shown = program.run("subject", "show", "--user-id", "imported-1")
    assert shown["preferences"]["analytics"]["effective"] == "granted"


def test_the_ledger_is_verified_and_copied_while_it_is_served(
    program: Program, tmp_path: Path
) -> None:
    program.send("/v1/track", choice("a-4", analytics=True, advertising=True))
    assert program.run("ledger", "verify", "--config", str(program.config))["sound"] is True
    out = tmp_path / "ledger.jsonl"
    exported = run("ledger", "export", "-o", str(out), CONSENTRY_SERVER=program.url)
    assert exported.exit_code == 0
    with urlopen(f"{program.url}/v1/ledger/key", timeout=10) as response:
        key = response.read().decode().strip()
    checked = program.run("ledger", "verify", "--export", str(out), "--key", key)
    assert checked["sound"] is True
    assert checked["leaves"] == len(out.read_text().splitlines()) - 1
    copy = program.run(
        "backup", "create", str(tmp_path / "copy.db"), "--config", str(program.config)
    )
    assert copy["records"] >= checked["leaves"]
    saved = tmp_path / "saved"
    saved.write_text(lines_of(out.read_text())[-1]["checkpoint"], encoding="utf-8")
    later = program.run(
        "ledger", "verify", "--store", str(program.store), "--checkpoint", str(saved)
    )
    assert (later["sound"], later["savedCheckpoints"]) == (True, 1)


def test_a_store_has_one_server(program: Program) -> None:
    args = ["serve", "--config", str(program.config), "--port", "0"]
    second = subprocess.run(
        [sys.executable, "-m", "consentry", *args],
        env={**os.environ, **ENVIRONMENT},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 4
    assert "another process serves the store" in second.stderr.splitlines()[-1]
    assert "Traceback" not in second.stderr


def test_the_server_stops_when_asked(program: Program) -> None:
    """Last, because it ends what the other tests here ask."""
    program.process.send_signal(signal.SIGTERM)
    assert program.process.wait(timeout=START_S) == 0
    result = run("destinations", "--server", program.url)
    assert result.exit_code == 4
