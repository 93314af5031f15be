"""The peers that are measured beside us: c15t on PostgreSQL, and policy engines in their own venv.

What they need is installed by `make bench` from lock files: bench/js and requirements/bench.txt.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import cpu
from bench.postgres import postgres, psql
from bench.server import ROOT, stop, workplace
from tests.running import call, free_port

JS = ROOT / "bench" / "js"
ENGINES_PYTHON = ROOT / ".build" / "bench-venv" / "bin" / "python"
ORIGIN = {"Content-Type": "application/json", "Origin": "https://shop.example"}
SUBJECTS = """
INSERT INTO subject (id, "identityProvider") SELECT s.id, 'anonymous' FROM ({ids}) s;
INSERT INTO consent (id, "subjectId", "domainId", "policyId", "purposeIds", metadata, "givenAt",
                     jurisdiction, "jurisdictionModel", "uiSource", "consentAction")
SELECT 'cns_pre' || s.n, s.id, c."domainId", c."policyId", c."purposeIds", c.metadata,
       c."givenAt" - make_interval(secs => s.n), c.jurisdiction, c."jurisdictionModel",
       c."uiSource", c."consentAction"
FROM ({ids}) s, (SELECT * FROM consent LIMIT 1) c;
ANALYZE;
CHECKPOINT;
"""
IDS = """SELECT n, 'sub_dev' || translate(lpad(n::text, 8, '0'), '0123456789', 'abcdefghij') AS id
FROM generate_series(0, {last}) n"""
INDEXES = """
CREATE INDEX IF NOT EXISTS bench_consent ON consent ("subjectId");
CREATE INDEX IF NOT EXISTS bench_subject ON subject ("externalId");
ANALYZE;
"""


class Unavailable(Exception):
    """A peer cannot be run here. The message says what is missing."""


@dataclass
class C15t:
    """A running c15t with its database."""

    port: int
    node: int
    postmaster: int
    url: str

    def cpu_s(self) -> float:
        """Of Node and of PostgreSQL together: both are needed to answer."""
        return cpu.tree_s(self.node) + cpu.tree_s(self.postmaster)

    def add_indexes(self) -> None:
        """Those that its queries ask for and that it does not make."""
        psql(self.url, INDEXES)


@contextlib.contextmanager
def c15t(subjects: int) -> Iterator[C15t]:
    """Start one with so many subjects, each with one consent. Raises Unavailable."""
    if not (JS / "node_modules" / "@c15t" / "backend").is_dir():
        raise Unavailable("npm packages are missing: run `make bench`, or `npm ci` in bench/js")
    with workplace() as folder:
        folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
        with postgres(folder) as (url, postmaster):
            port = free_port()
            command = ["node", "c15t.mjs", url, str(port)]
            node = subprocess.Popen(
                cpu.pinned(cpu.SERVER_CORE, command), cwd=JS, stdout=subprocess.PIPE, text=True
            )
            try:
                assert node.stdout is not None
                if node.stdout.readline() != "ready\n":
                    raise Unavailable("c15t did not start; its error is above")
                running = C15t(port, node.pid, postmaster, url)
                _fill(running, subjects)
                yield running
            finally:
                stop(node)


def _fill(running: C15t, subjects: int) -> None:
    """The first choice by itself, for concurrent first ones make duplicates; the rest by SQL."""
    names = ("necessary", "functionality", "experience", "measurement", "marketing")
    body: dict[str, Any] = {
        "type": "cookie_banner",
        "subjectId": "sub_first",
        "domain": "shop.example",
        "preferences": dict.fromkeys(names, True),
        "givenAt": int(time.time() * 1000),
        "jurisdictionModel": "opt-in",
        "uiSource": "banner",
        "consentAction": "custom",
        "metadata": {"language": "en", "page": "https://shop.example/catalogue/3/item-11"},
    }
    base = f"http://127.0.0.1:{running.port}"
    answer = call(base, "POST", "/subjects", body, headers=ORIGIN)
    if answer.status != 200:
        raise Unavailable(f"c15t answered {answer.status} to a first choice: {answer.body!r}")
    ids = IDS.format(last=subjects - 1)
    psql(running.url, SUBJECTS.format(ids=ids))


class Engines:
    """casbin and Cedar, asked the same questions in a process of their own.

    ``question`` is ``{"needs": {destination: [category]}, "granted": [[category]]}``.
    """

    def __init__(self, folder: Path, question: dict[str, Any]) -> None:
        if not ENGINES_PYTHON.exists():
            raise Unavailable("casbin and cedarpy are missing: run `make bench`")
        path = folder / "question.json"
        path.write_text(json.dumps(question))
        self._process = subprocess.Popen(
            cpu.pinned(cpu.SERVER_CORE, [str(ENGINES_PYTHON), "-m", "bench.engines", str(path)]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )  # fmt: skip
        self.answers: dict[str, list[list[str]]] = self._read()

    def round(self) -> dict[str, float]:
        """CPU microseconds for one event, by engine."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        found: dict[str, float] = self._read()
        return found

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable("the policy engines ended; their error is above")
        return json.loads(line)

    def close(self) -> None:
        stop(self._process)
