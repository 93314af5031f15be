"""What these tests say and ask, so that each test shows only what it is about."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from tests.running import (
    ADMIN_KEY,
    BACKEND_KEY,
    CONFIG,
    TOKEN_SECRET,
    WRITE_KEY,
    Answer,
    Server,
    call,
    free_port,
    wait_for,
)

_numbers = itertools.count(1)
_run = uuid.uuid4().hex[:8]
BOTH = {"analytics": True, "advertising": True}
NEITHER = {"analytics": False, "advertising": False}


def fresh(what: str) -> str:
    """An id that nothing else has."""
    return f"{what}-{_run}-{next(_numbers)}"


def message(type_: str = "track", *, stamp: dict[str, bool] | None = None, **more: Any) -> Any:
    """A well formed message about a fresh device, with every member that its type needs."""
    needs = {
        "track": {"event": "Bought"},
        "identify": {"traits": {"plan": "free"}},
        "page": {"name": "Home"},
        "screen": {"name": "Home"},
        "group": {"groupId": "g"},
        "alias": {"previousId": fresh("old"), "userId": fresh("user")},
    }[type_]
    found = {"type": type_, "messageId": fresh("m"), "anonymousId": fresh("dev"), **needs, **more}
    if stamp is not None:
        found["context"] = {**found.get("context", {}), "consent": {"categoryPreferences": stamp}}
    return found


def update(preferences: dict[str, bool], **more: Any) -> Any:
    """A preference update, as the browser's consent wrapper sends it."""
    return message(event="Segment Consent Preference Updated", stamp=preferences, **more)


def send(server: Server, *messages: Any, key: str | None = WRITE_KEY, **more: Any) -> Answer:
    """One batch, which must be taken whole."""
    answer = call(server.base, "POST", "/v1/batch", {"batch": messages}, basic=key, **more)
    assert answer.status == 200, answer.body
    assert answer.json == {"success": True}
    return answer


def choose(
    server: Server, subject: dict[str, str], preferences: dict[str, bool], **more: Any
) -> Answer:
    """POST /v1/consent as the backend says it, unless ``key`` says otherwise."""
    key, headers = more.pop("key", BACKEND_KEY), more.pop("headers", None)
    body = {"subject": subject, "preferences": preferences, **more}
    return call(server.base, "POST", "/v1/consent", body, key=key, headers=headers)


def withdraw(server: Server, subject: dict[str, str], **more: Any) -> Answer:
    """POST /v1/consent/withdraw by the backend, or by whom ``key`` says."""
    key = more.pop("key", BACKEND_KEY)
    body = {"subject": subject, **more}
    return call(server.base, "POST", "/v1/consent/withdraw", body, key=key)


def lookup(server: Server, subject: dict[str, str], **more: Any) -> Any:
    """What the operator sees of a subject."""
    answer = call(
        server.base, "POST", "/v1/subjects/lookup", {"subject": subject, **more}, key=ADMIN_KEY
    )
    assert answer.status == 200, answer.body
    return answer.json


def decide(server: Server, item: dict[str, Any], key: str = ADMIN_KEY) -> dict[str, Any]:
    """The decisions about one item, by destination."""
    body = {"items": [{"id": "1", **item}]}
    answer = call(server.base, "POST", "/v1/decisions", body, key=key)
    assert answer.status == 200, answer.body
    return {d["destination"]: d for d in answer.json["items"][0]["decisions"]}


def states(server: Server, message_id: str) -> dict[str, str]:
    """Where each delivery of an event ended."""
    return {name: d["state"] for name, d in server.event(message_id).items()}


def destination(server: Server, name: str) -> Any:
    """What /v1/destinations says of one."""
    listed = server.admin("GET", "/v1/destinations").json["destinations"]
    return next(d for d in listed if d["name"] == name)


def delivery(server: Server, message_id: str, name: str) -> Any:
    """One delivery of an event, as it stands."""
    answer = server.admin("GET", f"/v1/events/{message_id}")
    assert answer.status == 200, answer.body
    return next(d for d in answer.json["deliveries"] if d["destination"] == name)


def tried(server: Server, message_id: str, name: str, times: int = 1) -> Any:
    """The delivery once it was tried so often."""

    def enough() -> Any:
        found = delivery(server, message_id, name)
        return found if len(found["attempts"]) >= times else None

    return wait_for(enough, what=f"attempt {times} of {message_id}")


def peak_kib(server: Server) -> int:
    """The most memory that the process ever held, in KiB (VmHWM)."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


@contextlib.contextmanager
def acme_with(folder: Path, base: str, *, tail: str = "", **parts: str) -> Iterator[Server]:
    """As ``running.server``, with ``tail`` under [server] too."""
    running = Server(folder, free_port())
    running.config.write_text(config(base, tail=tail, **parts))
    running.start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()


def config(base: str, *, tail: str = "", **parts: str) -> str:
    """The usual configuration with more in some of its places."""
    places = {"workspace": "", "website": "", "more": "", **parts}
    return CONFIG.format(stand_in=base, **places) + tail


def hook(base: str, name: str, rest: str = 'categories = ["analytics"]') -> str:
    """A webhook destination at the stand-in."""
    return (
        f'[[destination]]\nname = "{name}"\nkind = "webhook"\n'
        f'url = "{base}/webhook/{name}"\nsecret = "env:HOOK_SECRET"\n{rest}\n'
    )


def dumped(value: Any) -> str:
    """As JSON text, for tests that look for what may not stand in it."""
    return json.dumps(value)


# -- consent ---------------------------------------------------------------------------------------
def token(user: str, *, secret: str = TOKEN_SECRET, **claims: Any) -> str:
    """A subject token as the shop's own server would sign it."""
    now = int(time.time())
    told = {"typ": "subject", "sub": user, "aud": "website", "iat": now, "exp": now + 600}
    found = {**told, **claims}
    kept = {name: value for name, value in found.items() if value is not None}
    return jwt.encode({"alg": "HS256"}, kept, OctKey.import_key(secret))


def proof(user: str, **claims: Any) -> dict[str, str]:
    return {"Consentry-Subject-Token": token(user, **claims)}


def state(preferences: Any, category: str = "analytics") -> tuple[str, str, str | None]:
    found = preferences[category]
    return found["state"], found["effective"], found["why"]


GRANTED = ("granted", "granted", None)
DENIED = ("denied", "denied", "denied")
UNKNOWN = ("never_collected", "denied", "never_collected")


# -- the process -----------------------------------------------------------------------------------
def consentry(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, in the server's folder."""
    return subprocess.run(
        [sys.executable, "-m", "consentry", *arguments],
        cwd=server.folder,
        env={**os.environ, **server.environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def verify(server: Server) -> None:
    """`consentry ledger verify` must find nothing."""
    done = consentry(server, "ledger", "verify", "--config", "consentry.toml", "--json")
    assert done.returncode == 0, done.stdout + done.stderr


def logged(server: Server) -> list[dict[str, Any]]:
    """The log, as JSON; what the command line says before it serves stands in front."""
    lines = [line for line in server.log.splitlines() if not line.startswith("consentry: ")]
    return [json.loads(line) for line in lines]
