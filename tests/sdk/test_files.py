"""The browser files: what is committed is what the sources give, and how it is served."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from consentry import sdk
from tests.running import Server, call

SOURCES = Path(__file__).parents[2] / "sdk" / "js"
NAMES = sorted(sdk.files())


@pytest.mark.node
def test_what_is_committed_is_what_the_sources_give() -> None:
    node = shutil.which("node")
    assert node, "install Node, or run: make test"
    ended = subprocess.run(
        [node, "build.mjs", "--check"], cwd=SOURCES, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_manifest_names_every_file_with_its_hash() -> None:
    manifest = json.loads(sdk.files()["manifest.json"])
    there = {p.relative_to(SOURCES / "dist").as_posix() for p in (SOURCES / "dist").rglob("*.*")}
    assert {*manifest["files"], "manifest.json"} == there
    for name, described in manifest["files"].items():
        content = (SOURCES / "dist" / name).read_bytes()
        digest = base64.b64encode(hashlib.sha384(content).digest()).decode()
        assert described == {"integrity": f"sha384-{digest}", "bytes": len(content)}


def test_every_language_has_the_same_keys() -> None:
    keys = {language: set(sdk.texts(language)) for language in sdk.languages()}
    assert {name: found ^ keys["en"] for name, found in keys.items()} == {n: set() for n in keys}


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_served_to_any_origin(acme: Server, name: str) -> None:
    plain = call(acme.base, "GET", f"/sdk/{name}")
    assert (plain.status, plain.body) == (200, sdk.files()[name])
    kind = {"js": "text/javascript", "mjs": "text/javascript", "css": "text/css"}
    expected = kind.get(name.rpartition(".")[2], "application/json")
    assert plain.headers["content-type"].partition(";")[0] == expected
    assert plain.headers["access-control-allow-origin"] == "*"
    assert plain.headers["x-content-type-options"] == "nosniff"
    packed = call(acme.base, "GET", f"/sdk/{name}", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body


def test_a_file_named_with_its_hash_is_kept_for_ever(acme: Server) -> None:
    digest = hashlib.sha256(sdk.files()["consentry.js"]).hexdigest()
    cases = {"": False, "?v=": False, f"?v={digest[:4]}": False, "?v=0123456789abcdef": False}
    cases |= {f"?v={digest[:16]}": True, f"?v={digest}": True}
    for query, for_ever in cases.items():
        answer = call(acme.base, "GET", f"/sdk/consentry.js{query}")
        assert ("immutable" in answer.headers["cache-control"]) is for_ever, query


def test_what_a_browser_has_is_not_sent_again(acme: Server) -> None:
    tag = call(acme.base, "GET", "/sdk/consentry.js").headers["etag"]
    again = call(acme.base, "GET", "/sdk/consentry.js", headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status, again.body) == (304, b"")
    packed = {"Accept-Encoding": "gzip", "If-None-Match": tag}
    assert call(acme.base, "GET", "/sdk/consentry.js", headers=packed).status == 200


@pytest.mark.parametrize("name", ["", "nothing.js", "../pyproject.toml", "lang/", "lang/xx.json"])
def test_nothing_else_is_served(acme: Server, name: str) -> None:
    assert call(acme.base, "GET", f"/sdk/{name}").status == 404
