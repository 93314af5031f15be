"""The OpenAPI document is true: Schemathesis holds the running server against it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from consentry.web.app import COLD, HOT
from tests.e2e.asking import BOTH, acme_with, choose, fresh, hook, message, send, update
from tests.running import ADMIN_KEY, BACKEND_KEY, Server, StandIn, call, wait_for

ROOT = Path(__file__).parents[2]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
SEED = "20261122"
FOLLOWING = "6"  # one with which most links are followed: which are is chance
# One path of each handler: the others are the same code under another name.
TRACKING = "^/v1/(track|alias|group|batch|m)$"
ALIKE = "^/v1/(identify|page|screen|[tipsga]|b|import)$"
LINKED = "^/v1/(track|batch|consent.*|subjects/[^{]*|suppressions|events/.*|ledger/checkpoint)$"
ENDLESS = "^/v1/tail$"  # its answer never ends


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    """A server of which every listing has something to show."""
    more = hook(vendors.base, "paused") + hook(vendors.base, "busy") + hook(vendors.base, "lost")
    folder = tmp_path_factory.mktemp("acme")
    with acme_with(folder, vendors.base, more=more) as running:
        one = message(stamp=BOTH, messageId="0")
        for mode in ("401", "429", "noop"):
            vendors.mode("webhook", mode, count=1, **({"retry_after": 60} if mode == "429" else {}))
            send(running, {**one, "messageId": fresh("m")})
            wait_for(lambda m=mode: any(e["mode"] == m for e in vendors.journal()), what=mode)
        send(running, one, update(BOTH, anonymousId="0"))
        choose(running, {"anonymousId": "0"}, BOTH)
        suppress = {"subject": {"userId": fresh("user")}}
        call(running.base, "POST", "/v1/subjects/suppress", suppress, key=ADMIN_KEY)
        yield running


def schemathesis(
    server: Server,
    folder: Path,
    key: str,
    *only: str,
    phases: str = "coverage,fuzzing",
    examples: int = 10,
    seed: str = SEED,
) -> str:
    """Run it; its report. Fails where it found something."""
    # The hooks put the write key into bodies, which contradicts a source's key in the header.
    hooks = {"SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks"} if phases == "stateful" else {}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.base}/openapi.json"),
            *("--header", f"Authorization: Bearer {key}"),
            *("--phases", phases, "--max-examples", str(examples), "--seed", seed),
            *("--checks", ",".join(CHECKS), "--generation-database", "none"),
            *("--no-color", "--no-shrink", "--warnings", "off", *only),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **hooks},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout, done.stdout[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", ["the operator's and the consent API", "the tracking API"])
def test_the_document_is_true(acme: Server, tmp_path: Path, name: str) -> None:
    if name == "the tracking API":
        schemathesis(acme, tmp_path, BACKEND_KEY, "--include-path-regex", TRACKING)
    else:
        others = f"{TRACKING}|{ALIKE}|{ENDLESS}"
        schemathesis(acme, tmp_path, ADMIN_KEY, "--exclude-path-regex", others)
    assert '"internal_error"' not in acme.log
    assert call(acme.base, "GET", "/readyz").status == 200


def test_what_one_answer_leads_to_is_there(acme: Server, tmp_path: Path) -> None:
    """Consent, then its subject; an event, then its deliveries; suppressed, then on the list."""
    only = ("--include-path-regex", LINKED)
    report = schemathesis(
        acme, tmp_path, ADMIN_KEY, *only, phases="stateful", examples=160, seed=FOLLOWING
    )
    followed = re.search(r"API Links: +(\d+) covered / (\d+) selected", report)
    assert followed, report
    assert int(followed[1]) >= 9, report
    assert '"internal_error"' not in acme.log


def test_every_route_is_in_the_document(acme: Server) -> None:
    document = call(acme.base, "GET", "/openapi.json").json
    validate(document)
    paths = document["paths"]
    routes = [*HOT, *((method, path.replace(":path}", "}")) for method, path, _ in COLD)]
    assert {(m, p) for p, found in paths.items() for m in found} == {
        (method.lower(), path) for method, path in routes
    }
