"""What the tests of the command line need: a run, a server that answers as told, a store."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from click.testing import CliRunner, Result

from consentry.cli import main
from consentry.clock import Clock
from consentry.config import read_config
from consentry.core.event import Envelope
from consentry.destinations.registry import KINDS
from consentry.flow.accept import Incoming, accept
from consentry.flow.records import Origin
from consentry.flow.subjects import Subjects
from consentry.flow.world import World
from consentry.ledger.notary import Notary
from consentry.ledger.note import SigningKey
from consentry.store.sqlite import SqliteStore

ADMIN_KEY = "admin-key-of-the-tests"
SIGNER = SigningKey("ledger.example/acme", bytes(range(32)))
CONFIG = """
[workspace]
name = "Acme"
[store]
url = "sqlite:///{store}"
[server]
admin_key = "env:CONSENTRY_ADMIN_KEY"
allow_private_destinations = true
[[category]]
id = "analytics"
[[category]]
id = "advertising"
[[source]]
name = "website"
write_key = "wk_website"
[[source]]
name = "backend"
secret_key = "env:CONSENTRY_ADMIN_KEY_2"
[[destination]]
name = "warehouse"
kind = "console"
categories = ["analytics"]
[[destination]]
name = "ads"
kind = "console"
categories = ["advertising", "analytics"]
[[destination]]
name = "mirror"
kind = "console"
"""
ENVIRONMENT = {
    "CONSENTRY_ADMIN_KEY": ADMIN_KEY,
    "CONSENTRY_ADMIN_KEY_2": "a-secret-of-the-backend-source",
    "CONSENTRY_SERVER": "http://127.0.0.1:1",
    "COLUMNS": "200",
    "NO_COLOR": "1",
}


def run(*args: str, stdin: str | None = None, **environment: str | None) -> Result:
    """One command, as it would be typed."""
    env = {**ENVIRONMENT, **environment}
    return CliRunner().invoke(main, args, input=stdin, env=env)


def error_of(result: Result) -> str:
    """The one line of an error; nothing else may be on standard error."""
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.output
    return result.stderr.removeprefix("consentry: ").rstrip("\n")


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    key: str | None


@dataclass
class Answer:
    """What to answer: JSON, or ``raw`` bytes as they are."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    close_early: bool = False


class Answering:
    """A server on loopback that answers each path with what it was given, in turn.

    The last answer of a path is given again and again; a path without answers is a 404.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answers: dict[str, list[Answer]] = {}
        self.url = ""

    def answer(self, path: str, *answers: Any) -> None:
        """The next answers for ``path``: dictionaries, or an Answer."""
        made = [a if isinstance(a, Answer) else Answer(a) for a in answers]
        self.answers.setdefault(path, []).extend(made)

    def next_answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        waiting = self.answers.get(asked.path)
        if not waiting:
            return Answer(raw=b"not found", status=404)
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]


@contextmanager
def answering() -> Iterator[Answering]:
    """An ``Answering``, listening."""
    world = Answering()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(world))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    world.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield world
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler_of(world: Answering) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply(None)

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: Any) -> None:
            target = urlsplit(self.path)
            asked = Asked(
                self.command,
                target.path,
                dict(parse_qsl(target.query)),
                body,
                self.headers["Authorization"],
            )
            answer = world.next_answer(asked)
            data = json.dumps(answer.body).encode() if answer.raw is None else answer.raw
            self.send_response(answer.status)
            if answer.close_early:
                self.send_header("Transfer-Encoding", "chunked")
                data = b"%x\r\n%s\r\n" % (len(data), data)  # and no last chunk
                self.close_connection = True
            else:
                self.send_header("Content-Length", str(len(data)))
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Tests are silent."""

    return Handler


def config_text(store: Path) -> str:
    return CONFIG.format(store=store)


@dataclass
class Served:
    """A store that a server would have open, and the workspace that writes to it."""

    world: World
    store: SqliteStore

    async def take(self, *messages: Mapping[str, Any], source: str = "backend") -> None:
        """Accept messages in one request."""
        trust = "server" if source == "backend" else "public"
        envelope = Envelope(received_at=self.world.clock.now())
        await accept(self.world, Incoming(Origin(source, trust), messages, envelope, gpc=None))


def open_store(path: Path) -> Served:
    """A store at ``path`` with the workspace of ``CONFIG``."""
    config = read_config(config_text(path), ENVIRONMENT, kinds=KINDS)
    clock = Clock()
    store = SqliteStore.open(str(path), Notary("Acme", SIGNER), clock=clock.now)
    world = World(store, Subjects(store), clock, config.policy, policy_id=0)
    return Served(world, store)


def update(user: str | None, device: str, number: int, **preferences: bool) -> dict[str, Any]:
    """A preference update of one person."""
    return {
        "type": "track",
        "event": "Segment Consent Preference Updated",
        "messageId": f"choice-{number}",
        "anonymousId": device,
        **({"userId": user} if user else {}),
        "context": {"consent": {"categoryPreferences": preferences}},
    }


async def fill(served: Served, people: int) -> None:
    """A link and a choice for each person, then a merge of two: a commit each."""
    for n in range(people):
        named = {"userId": f"user-{n}", "anonymousId": f"device-{n}"}
        await served.take(
            {"type": "identify", "messageId": f"identify-{n}", **named},
            update(f"user-{n}", f"device-{n}", n, analytics=n % 2 == 0, advertising=False),
        )
    if people > 1:
        await served.take(
            {
                "type": "alias",
                "messageId": "merge",
                "previousId": "user-0",
                "userId": "user-1",
            }
        )


def lines_of(text: str) -> Sequence[Any]:
    """JSON Lines as values."""
    return [json.loads(line) for line in text.splitlines()]
