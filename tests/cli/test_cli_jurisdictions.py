"""`consentry jurisdictions`, and what `consentry check` says of rows that are due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consentry.jurisdictions import due, rows
from tests.cli.place import config_text, error_of, run


def told(*arguments: str) -> Any:
    result = run("jurisdictions", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_every_row_is_listed_with_its_sources() -> None:
    listed = told("--at", "2026-11-27")
    assert [row["id"] for row in listed["rows"]] == [row.id for row in rows()]
    by_id = {row["id"]: row for row in listed["rows"]}
    assert by_id["us-ca"]["laws"][0]["url"].startswith("https://")
    assert (by_id["us-la"]["holds"], by_id["us-ca"]["holds"]) == (False, True)
    assert by_id["us-default"]["kind"] == "product_default"
    assert not any(row["due"] for row in listed["rows"])


def test_a_row_is_due_the_day_after_its_review() -> None:
    late = {row.id for row in rows() if row.review_by == "2026-12-15"}
    assert "us-ca" in late
    assert not late & {row.id for row in due("2026-12-15")}
    assert late <= {row.id for row in due("2026-12-16")}
    listed = told("--at", "2026-12-16")["rows"]
    assert late <= {row["id"] for row in listed if row["due"]}
    assert "us-ca" in run("jurisdictions", "--at", "2026-12-16").stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "rule", "advertising", "again"),
    [
        (["--country", "US", "--region", "CA"], "us-ca", "opt_out", 366),
        (["--country", "us", "--region", "ca"], "us-ca", "opt_out", 366),
        (["--country", "US"], "US, part unknown", "opt_out", 366),
        (["--country", "FR"], "eea-fr", "opt_in", 184),
        (["--country", "unknown"], "place unknown", "opt_in", 366),
    ],
)
def test_a_place_is_told(arguments: list[str], rule: str, advertising: str, again: int) -> None:
    found = told(*arguments, "--at", "2026-11-27")
    assert (found["rule"], found["regimes"]["advertising"]) == (rule, advertising)
    assert found["askAgainAfterDays"] == again
    assert bool(found["laws"]) is (rule in ("us-ca", "eea-fr"))


def test_a_day_to_come_can_be_asked_about() -> None:
    assert told("--country", "IN", "--at", "2027-05-12")["rule"] == "in-before-dpdp"
    assert told("--country", "IN", "--at", "2027-05-13")["rule"] == "in"


def test_people_read_lines() -> None:
    text = run("jurisdictions", "--country", "GB", "--at", "2026-11-27").stdout
    assert "analytics: opt_in" in text
    assert "not applied: analytics opt_out if" in text
    assert "https://www.legislation.gov.uk/uksi/2003/2426/regulation/6" in text
    assert "no law is named" in run("jurisdictions", "--country", "AQ").stdout
    assert "eea-de" in run("jurisdictions").stdout


@pytest.mark.parametrize(
    "arguments", [["--region", "CA"], ["--at", "soon"], ["--at", "2026-13-01"], ["extra"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    result = run("jurisdictions", *arguments)
    assert result.exit_code == 2
    assert "jurisdictions --help`" in error_of(result)


@pytest.mark.parametrize(
    ("server", "date", "named"),
    [
        ('trusted_proxies = ["10.0.0.0/8"]', "2026-12-16", True),
        ('trusted_proxies = ["10.0.0.0/8"]', "2026-11-27", False),
        ('mmdb = "places.mmdb"', "2026-12-16", True),
        ("", "2026-12-16", False),
    ],
)
def test_check_names_rows_that_are_due_where_places_are_looked_for(
    tmp_path: Path, server: str, date: str, named: bool
) -> None:
    file = tmp_path / "consentry.toml"
    text = config_text(tmp_path)
    file.write_text(
        text.replace("[server]", f"[server]\n{server}")
        if "[server]" in text
        else f"{text}\n[server]\n{server}\n"
    )
    result = run("check", str(file), "--at", date)
    assert result.exit_code == 0, result.output
    assert ("past their review" in result.stdout) is named
    assert ("us-ca (2026-12-15)" in result.stdout) is named
    warnings = json.loads(run("check", str(file), "--at", date, "--json").stdout)["warnings"]
    assert any(one["field"] == "server" for one in warnings) is named
