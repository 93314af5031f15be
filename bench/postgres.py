"""A private PostgreSQL for the peer that needs one: its own directory, gone at the end.

It is as durable as the defaults make it: fsync and synchronous_commit stay on.
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import cpu
from tests.running import free_port

SETTINGS = "-c shared_buffers=512MB -c max_wal_size=4GB -c max_connections=60"


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[tuple[str, int]]:
    """Start one whose files lie under ``folder``; gives its URL and the process id to account."""
    account, programs, port = _account(), _programs(), free_port()
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir=folder))

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            cpu.pinned(cpu.SERVER_CORE, [str(programs / program), *arguments]),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=60,
            **account,
        )

    if account:
        os.chown(home, account["user"], account["group"])
    data = str(home / "data")
    try:
        run("initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8", "-D", data)
        run(
            "pg_ctl", "start", "-w", "-D", data, "-l", str(home / "log"),
            "-o", f"-h 127.0.0.1 -p {port} -k {home} {SETTINGS}",
        )  # fmt: skip
        pid = int((home / "data" / "postmaster.pid").read_text().splitlines()[0])
        try:
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres", pid
        finally:
            run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", data)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def psql(url: str, script: str) -> str:
    """Run SQL; what it printed. Raises CalledProcessError."""
    done = subprocess.run(
        [str(_programs() / "psql"), "-qAt", "-v", "ON_ERROR_STOP=1", url],
        input=script, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def _programs() -> Path:
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1]
    if found := shutil.which("pg_ctl"):
        places.append(str(Path(found).resolve().parent))
    for place in map(Path, places):
        if all((place / name).exists() for name in ("initdb", "postgres", "pg_ctl", "psql")):
            return place
    raise FileNotFoundError("no PostgreSQL programs found: install the package postgresql")


def _account() -> dict[str, Any]:
    """PostgreSQL does not run as root; whoever is not root runs it as oneself."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    entry = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
