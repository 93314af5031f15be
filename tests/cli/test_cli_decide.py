"""`consentry decide` against a real server: who stays, who is left out and why, and what fails."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.asking import choose, fresh
from tests.e2e.paging import PAGES, shop
from tests.running import ADMIN_KEY, Server, call, free_port

HOOK = """
[[destination]]
name = "google-ads"
kind = "console"
categories = ["advertising"]
"""


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop(tmp_path_factory.mktemp("acme"), HOOK, PAGES) as running:
        yield running


def run(base: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    told = {**os.environ, "CONSENTRY_ADMIN_KEY": ADMIN_KEY, "CONSENTRY_SERVER": base}
    line = [sys.executable, "-m", "consentry", "decide", *words]
    return subprocess.run(
        line, input=given, env=told, capture_output=True, text=True, timeout=120, check=False
    )


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_who_agreed_stays_in_the_same_order_with_the_same_columns(acme: Server) -> None:
    ann, ben, cas = (fresh(name) for name in ("ann", "ben", "cas"))
    choose(acme, {"userId": ann}, {"advertising": True})
    choose(acme, {"userId": ben}, {"advertising": False})
    choose(acme, {"userId": cas}, {"advertising": True})
    call(acme.base, "POST", "/v1/subjects/suppress", {"subject": {"userId": cas}}, key=ADMIN_KEY)
    dee = fresh("dee")
    choose(acme, {"userId": dee}, {"advertising": True})
    text = f'user_id,name\n{dee},"Dee, D"\n{ben},Ben\n{cas},Cas\n{ann},Ann\n{fresh("new")},New\n'
    done = run(acme.base, "-", "--destination", "google-ads", given=text)

    assert done.returncode == 0, done.stderr
    assert rows(done.stdout) == [["user_id", "name"], [dee, "Dee, D"], [ann, "Ann"]]
    assert "5 rows: 2 kept, 3 left out" in done.stderr
    assert "1 left out: filtered_by_end_user_consent: advertising denied" in done.stderr
    assert "1 left out: filtered_by_end_user_consent: advertising never_collected" in done.stderr
    assert "1 left out: suppressed" in done.stderr


def test_a_topic_by_a_channel_with_the_others_and_their_reasons(
    acme: Server, tmp_path: Path
) -> None:
    ann, ben = (f"{fresh(name)}@example.com" for name in ("ann", "ben"))
    choose(acme, {"email": ann}, {}, topics={"news": {"email": True}})
    choose(acme, {"email": ben}, {}, topics={"news": {"email": True}})
    choose(acme, {"email": ben}, {}, channels={"email": False})
    there, out, no = (tmp_path / name for name in ("in.csv", "out.csv", "no.csv"))
    there.write_text(f"\ufeffMail\n{ann}\n{ben}\n", encoding="utf-8")
    words = ("--topic", "news", "--channel", "email", "--map", "Mail=email", "--json")
    done = run(acme.base, str(there), *words, "-o", str(out), "--rejected", str(no))

    assert done.returncode == 0, done.stderr
    assert rows(out.read_text()) == [["Mail"], [ann]]
    why = "filtered_by_end_user_consent: topic:news:email denied"
    assert rows(no.read_text()) == [["reason", "Mail"], [why, ben]]
    told = json.loads(done.stdout)
    assert (told["rows"], told["kept"], told["undecided"]) == (2, 1, 0)
    assert told["leftOut"] == {why: 1}
    assert "@" not in done.stdout + done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "no.csv", "out.csv"]


def test_a_row_that_cannot_be_read_or_decided_is_left_out_and_counted(acme: Server) -> None:
    ann = fresh("ann")
    choose(acme, {"userId": ann}, {"advertising": True})
    long = "x" * 5000
    text = f"user_id,email\n,\n{ann}\n{ann},not an address\n{long},\n{ann},\n"
    done = run(acme.base, "-", "--destination", "google-ads", given=text)

    assert done.returncode == 1
    assert rows(done.stdout) == [["user_id", "email"], [ann, ""]]
    for why in ("names_nobody", "wrong_number_of_cells", "identifier_too_long"):
        assert f"1 left out: {why}" in done.stderr
    assert "5 rows: 1 kept, 4 left out" in done.stderr
    assert "address" not in done.stderr


def test_a_destination_that_is_misspelt_keeps_nobody(acme: Server) -> None:
    done = run(acme.base, "-", "--destination", "google", given="user_id\nann\n")

    assert (done.returncode, rows(done.stdout)) == (1, [["user_id"]])
    assert "1 left out: unknown_destination" in done.stderr


def test_without_a_server_nothing_is_kept(tmp_path: Path) -> None:
    there, out = tmp_path / "in.csv", tmp_path / "out.csv"
    there.write_text("user_id\nann\n")
    base = f"http://127.0.0.1:{free_port()}"
    done = run(base, str(there), "--destination", "google-ads", "-o", str(out))
    assert done.returncode == 4
    assert list(tmp_path.iterdir()) == [there]
    done = run(base, str(there), "--destination", "google-ads")
    assert (done.returncode, done.stdout) == (4, "")


WRONG = {
    "nothing asked": (),
    "a topic without its channel": ("--topic", "news"),
    "both": ("--destination", "x", "--topic", "news", "--channel", "email"),
    "a member that is none": ("--destination", "x", "--map", "a=b"),
    "a summary among the rows": ("--destination", "x", "--json"),
    "a column that is not there": ("--destination", "x", "--map", "Mail=email"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage(acme: Server, case: str) -> None:
    done = run(acme.base, "-", *WRONG[case], given="user_id\nann\n")
    assert (done.returncode, done.stdout) == (2, "")
