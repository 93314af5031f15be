"""POST /v1/csp-reports and the leak report, against a running server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.asking import acme_with
from tests.running import ADMIN_KEY, BACKEND_KEY, WRITE_KEY, Answer, Server, StandIn, call

TAGS = """
[[tag]]
name = "pixel"
categories = ["advertising", "analytics"]
hosts = ["ads.example", "*.ads.example"]
[[source]]
name = "slow"
write_key = "wk_slow"
rate_limit = 0.1
origins = ["https://shop.example"]
"""
HERE = f"/v1/csp-reports?key={WRITE_KEY}"


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory, vendors: StandIn) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("leaks")
    with acme_with(folder, vendors.base, more=TAGS) as running:
        yield running


def report(host: str, **more: Any) -> dict[str, Any]:
    inner = {
        "document-uri": "https://shop.example/cart?email=ann@shop.example",
        "blocked-uri": f"https://{host}/p.gif",
        "effective-directive": "img-src",
        **more,
    }
    return {"csp-report": inner}


def post(server: Server, body: Any, path: str = HERE, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return call(server.base, "POST", path, body, headers=named)


def told(server: Server, host: str, query: str = "") -> list[dict[str, Any]]:
    answer = server.admin("GET", f"/v1/leaks{query}")
    assert answer.status == 200
    return [row for row in answer.json["leaks"] if row["host"] == host]


def test_both_formats_and_the_guards_counts(acme: Server) -> None:
    old = post(acme, report("x.ads.example"), content_type="application/csp-report")
    assert (old.status, old.json) == (200, {"counted": 1, "ignored": 0})
    body = {"blockedURL": "https://x.ads.example/y", "effectiveDirective": "img-src"}
    body |= {"documentURL": "https://shop.example/cart", "disposition": "report"}
    new = [{"type": "csp-violation", "body": body}, {"type": "deprecation", "body": {}}]
    answer = post(acme, new, content_type="application/reports+json")
    assert answer.json == {"counted": 1, "ignored": 1}
    guard = {"writeKey": WRITE_KEY, "leaks": [{"host": "x.ads.example", "kind": "beacon", "category": "advertising"}]}  # fmt: skip
    answer = post(acme, guard, "/v1/csp-reports", content_type="text/plain")
    assert answer.json == {"counted": 1, "ignored": 0}
    post(acme, report("x.ads.example"))
    rows = told(acme, "x.ads.example")
    assert [(r["kind"], r["page"], r["via"], r["stopped"], r["count"]) for r in rows] == [
        ("image", "/cart", "csp", True, 2),
        ("beacon", "", "guard", True, 1),
        ("image", "/cart", "csp", False, 1),
    ]
    assert all(r["source"] == "website" and r["tags"] == ["pixel"] for r in rows)
    assert rows[0]["categories"] == ["advertising", "analytics"]
    metrics = call(acme.base, "GET", "/metrics").body.decode()
    line = 'consentry_leaks_total{source="website",stopped="false",tag="pixel",via="csp"} 1.0'
    assert line in metrics
    assert "x.ads.example" not in metrics


def test_an_unknown_host_is_named_and_survives_kill_9(acme: Server) -> None:
    post(acme, report("unknown.example"))
    acme.kill()
    acme.start()
    (row,) = told(acme, "unknown.example")
    assert (row["tags"], row["categories"], row["count"]) == ([], [], 1)
    assert told(acme, "unknown.example", f"?since={row['lastAt']}") == [row]
    assert told(acme, "unknown.example", "?since=2999-01-01T00:00:00Z") == []


@pytest.mark.parametrize("extra", [["--json"], []])
def test_the_command(acme: Server, extra: list[str]) -> None:
    post(acme, report("odd.example"))
    post(acme, report("ads.example"))
    arguments = ["leaks", "--server", acme.base, "--since", "2026-01-01T00:00:00Z", *extra]
    ran = subprocess.run(
        [sys.executable, "-m", "consentry", *arguments],
        env={**os.environ, "CONSENTRY_ADMIN_KEY": ADMIN_KEY, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=True,
    )
    if extra:
        assert {row["host"] for row in json.loads(ran.stdout)["leaks"]} >= {"odd.example"}
    else:
        assert "advertising, analytics" in ran.stdout
        assert "no [[tag]] names: " in ran.stdout
        assert "odd.example" in ran.stdout.rpartition("no [[tag]] names: ")[2]


REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "no key": ("/v1/csp-reports", report("a.example"), 401, "missing_key"),
    "an unknown key": ("/v1/csp-reports?key=wk_other", report("a.example"), 401, "unknown_key"),
    "a secret key": (f"/v1/csp-reports?key={BACKEND_KEY}", report("a.example"), 400, "secret_key"),
    "two keys": (HERE, {"writeKey": "wk_slow", "leaks": []}, 400, "key_conflict"),
    "no report": (HERE, {"other": 1}, 400, "invalid_body"),
    "two values": (HERE, b'[],"x":[]', 400, "invalid_json"),
    "too many": (HERE, [report("a.example")] * 101, 400, "too_many"),
    "too large": (HERE, b" " * 70_000, 413, "too_large"),
    "a misspelt member": (HERE, {"leaks": [{"host": "a", "kind": "b", "x": 1}]}, 400, "invalid_body"),
    "broken": (HERE, b'{"csp-report": ', 400, "invalid_json"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(acme: Server, name: str) -> None:
    path, body, status, code = REFUSED[name]
    answer = post(acme, body, path)
    assert (answer.status, answer.json["code"]) == (status, code)


def test_a_page_of_another_site_and_a_flood_are_refused(acme: Server) -> None:
    slow = "/v1/csp-reports?key=wk_slow"
    assert post(acme, report("a.example"), slow, origin="https://evil.example").status == 403
    answer = post(acme, report("a.example"), slow, origin="https://shop.example")
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    refused = post(acme, report("a.example"), slow)
    assert (refused.status, refused.json["code"]) == (429, "rate_limited")


def test_a_browser_may_ask_first(acme: Server) -> None:
    answer = call(acme.base, "OPTIONS", HERE, headers={"Origin": "https://shop.example", "Access-Control-Request-Headers": "content-type"})  # fmt: skip
    assert answer.status == 204
    assert "content-type" in answer.headers["access-control-allow-headers"]
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"


def test_the_report_is_the_operators(acme: Server) -> None:
    assert call(acme.base, "GET", "/v1/leaks").status == 401
    assert call(acme.base, "GET", "/v1/leaks", basic=WRITE_KEY).status == 403
    assert acme.admin("GET", "/v1/leaks?since=soon").json["code"] == "invalid_time"


def test_nothing_of_a_person_is_kept(acme: Server) -> None:
    post(acme, report("b.example", **{"document-uri": "https://shop.example/u/zelda%40shop.example?x=zelda"}))  # fmt: skip
    (row,) = told(acme, "b.example")
    assert row["page"] == "/u/*"
    assert "zelda" not in acme.log
