"""What the SDK tests share: a server with one destination of each sort, and the comparison.

Every destination is there for one question, so that a set of names says which consent an
event had. ``World.check`` compares four things for each event that an SDK put on the wire:
what the test expects, what the server says it decided, what an explanation says, and what
arrived.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser import JS
from tests.e2e.sdk_proxy import Proxy, proxy
from tests.running import BACKEND_KEY, Server, StandIn, call, server, stand_in, wait_for

SLOW_KEY = "wk_slow"
SLOW_SECRETS = {
    name: f"slow-{name}-0123456789-0123456789-0123456789" for name in ("python_sdk", "node_sdk")
}

VENDOR = {
    "warehouse": "webhook",
    "ads": "webhook",
    "either": "webhook",
    "crm": "webhook",
    "audit": "webhook",
    "unmapped": "webhook",
    "mirror": "segment",
    "rudder": "rudderstack",
}
NOTHING = frozenset({"audit"})
ANALYTICS = frozenset({"audit", "warehouse", "either", "mirror"})
ADVERTISING = frozenset({"audit", "either", "crm", "rudder"})
BOTH = ANALYTICS | ADVERTISING | {"ads"}


def sources(website: str) -> str:
    """Sources that take five events at once, then one every two seconds: one per test.

    Every five seconds from a process, which may be slow to start: its sixth must come too early.
    """
    public = f"rate_limit = 0.5\n{website}\n"
    slow = [f'write_key = "{SLOW_KEY}_{way}"\n{public}' for way in ("standard", "batching")]
    slow += [f'secret_key = "{key}"\nrate_limit = 0.2\n' for key in SLOW_SECRETS.values()]
    return "".join(f'[[source]]\nname = "slow{n}"\n{text}' for n, text in enumerate(slow))


def destinations(stand_in_base: str) -> str:
    """Configuration of what ``tests.running.CONFIG`` does not have."""
    hook = f'kind = "webhook"\nsecret = "env:HOOK_SECRET"\nurl = "{stand_in_base}/webhook'
    forward = 'write_key = "wk_downstream"\nbase_url = "' + stand_in_base
    return f"""
[[destination]]
name = "either"
categories = ["analytics", "advertising"]
match = "any"
{hook}/either"
[[destination]]
name = "crm"
categories = ["advertising"]
share_consent = true
{hook}/crm"
[[destination]]
name = "audit"
exempt = "Fraud checks, required by law"
{hook}/audit"
[[destination]]
name = "unmapped"
{hook}/unmapped"
[[destination]]
name = "mirror"
kind = "segment"
categories = ["analytics"]
{forward}/segment/mirror"
[[destination]]
name = "rudder"
kind = "rudderstack"
categories = ["advertising"]
{forward}/rudderstack/rudder"
"""


@dataclass
class World:
    """A server, the vendors' stand-in, and the proxy that the SDKs speak to."""

    server: Server
    vendors: StandIn
    proxy: Proxy

    def reset(self) -> None:
        """Begin a test: nothing has arrived and nothing was sent."""
        self.vendors.reset()
        self.proxy.clear()

    def withdraw(self, subject: Mapping[str, str], *categories: str) -> dict[str, Any]:
        """What a person's withdrawal does, told by the backend."""
        body = {"subject": subject, **({"categories": categories} if categories else {})}
        answer = call(self.server.base, "POST", "/v1/consent/withdraw", body, key=BACKEND_KEY)
        assert answer.status == 201, answer.body
        found: dict[str, Any] = answer.json
        return found

    def history(self, node: str) -> list[dict[str, Any]]:
        """The records of a subject, oldest first, such as ``user_id:ID``."""
        answer = call(self.server.base, "GET", f"/v1/subjects/{node}?history=true", key=BACKEND_KEY)
        assert answer.status == 200, answer.body
        return sorted(answer.json["history"], key=lambda record: record["seq"])

    def taken(self) -> dict[str, list[str]]:
        """By destination, the message ids that it answered with success, with repetitions."""
        found: dict[str, list[str]] = {name: [] for name in VENDOR}
        for vendor in set(VENDOR.values()):
            for entry in self.vendors.journal(vendor):
                name = entry["path"].split("/")[2]
                if entry["status"] == 200:
                    found[name] += entry["ids"]["messageIds"]
        return {name: sorted(ids) for name, ids in found.items()}

    def decided(self, message_id: str) -> dict[str, dict[str, Any]]:
        """By destination, the decision that holds once nothing waits any more."""
        found = self.server.event(message_id)
        for name, delivery in found.items():
            allowed = delivery["decision"]["decision"] == "allow"
            assert delivery["state"] == ("delivered" if allowed else "withheld"), (
                message_id,
                name,
                delivery,
            )
        return {name: delivery["decision"] for name, delivery in found.items()}

    def explained(self, messages: Sequence[dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
        """By destination, what an explanation says of each message."""
        items = [{"id": m["messageId"], "event": m} for m in messages]
        answer = self.server.admin("POST", "/v1/decisions", {"items": items})
        assert answer.status == 200, answer.body
        return [{d["destination"]: d for d in item["decisions"]} for item in answer.json["items"]]

    def check(
        self,
        expected: Sequence[frozenset[str]],
        *,
        changed: frozenset[int] = frozenset(),
        messages: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """Everything sent, in order, reached exactly the expected destinations, once.

        ``changed`` are indices of messages whose subject has answered since, so that an
        explanation given now may differ. ``messages`` defaults to all that the proxy saw,
        in the order of their numbers where they have some, for an SDK may send side by side.
        """
        sent = list(self.proxy.sent if messages is None else messages)
        sent.sort(key=lambda message: message["context"].get("case", 0))
        assert len(sent) == len(expected), [m["messageId"] for m in sent]
        explained = self.explained(sent)
        should: dict[str, list[str]] = {name: [] for name in VENDOR}
        for n, (message, names) in enumerate(zip(sent, expected, strict=True)):
            told = self.decided(message["messageId"])
            assert _allowed(told) == names, (n, message, told)
            if n not in changed:
                assert _gist(explained[n]) == _gist(told), (n, message)
            for name in names:
                should[name].append(message["messageId"])
        taken = self.taken()
        missing = {name: Counter(ids) - Counter(taken[name]) for name, ids in should.items()}
        surplus = {name: Counter(taken[name]) - Counter(ids) for name, ids in should.items()}
        assert (_some(missing), _some(surplus)) == ({}, {})


def _some(counts: Mapping[str, Counter[str]]) -> dict[str, Counter[str]]:
    return {name: count for name, count in counts.items() if count}


def _allowed(decisions: Mapping[str, dict[str, Any]]) -> frozenset[str]:
    return frozenset(n for n, told in decisions.items() if told["decision"] == "allow")


def _gist(decisions: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """A decision without its record ids: an explanation of a choice invents one of its own."""
    return {n: (d["decision"], d["reason"], d["categories"]) for n, d in decisions.items()}


@contextlib.contextmanager
def world(folder: Path, *, origin: str = "") -> Iterator[World]:
    """Start all three; ``origin`` is the only site that may use the website's key."""
    website = f'origins = ["{origin}"]' if origin else ""
    with stand_in() as vendors:
        more = sources(website) + destinations(vendors.base)
        with (
            server(folder, vendors.base, website=website, more=more) as running,
            proxy(running.port) as between,
        ):
            yield World(running, vendors, between)


def run_node(script: str, told: dict[str, Any], timeout_s: float = 60.0) -> Any:
    """Run a script with one JSON document on stdin; return the one it prints."""
    done = subprocess.run(
        ["node", script],
        cwd=JS,
        input=json.dumps(told),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def waiting(world: World, message_id: str, destination: str) -> None:
    """Wait until an attempt at a destination failed and the delivery waits for the next."""

    def tried() -> bool:
        answer = world.server.admin("GET", f"/v1/events/{message_id}")
        if answer.status != 200:
            return False
        found = {d["destination"]: d for d in answer.json["deliveries"]}[destination]
        return found["state"] == "waiting" and len(found["attempts"]) > 0

    wait_for(tried, what=f"{message_id} tried at {destination}")
