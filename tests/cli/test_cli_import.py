"""`consentry import`: rows of another system's export become choices, or refusals by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consentry.cli.choices import NO, YES, Plan, RowError
from tests.cli.place import Answer, Answering, error_of, run

CSV = """visitor,mail,stats,ads,when,shoe size
v-1,a@b.example,yes,no,2026-01-31T12:00:00Z,42
v-2,,Granted,DENIED,1767225600,
v-3,,,no,,
"""
MAPS = [
    *("--map", "visitor=anonymousId", "--map", "mail=email", "--map", "when=timestamp"),
    *("--map", "stats=analytics", "--map", "ads=advertising"),
]
EXPECTED = [
    {
        "subject": {"anonymousId": "v-1", "email": "a@b.example"},
        "preferences": {"analytics": True, "advertising": False},
        "timestamp": "2026-01-31T12:00:00.000000Z",
        "evidence": {"action": "import"},
    },
    {
        "subject": {"anonymousId": "v-2"},
        "preferences": {"analytics": True, "advertising": False},
        "timestamp": "2026-01-01T00:00:00.000000Z",
        "evidence": {"action": "import"},
    },
    {
        "subject": {"anonymousId": "v-3"},
        "preferences": {"advertising": False},
        "evidence": {"action": "import"},
    },
]
DONE = {"recorded": 3, "repeated": 0, "rejected": []}


def write(tmp_path: Path, text: str, name: str = "choices.csv") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    return str(path)


def sent(server: Answering) -> list[dict[str, Any]]:
    """Every choice that was sent, without its key."""
    choices = [choice for asked in server.asked for choice in asked.body["choices"]]
    keys = [choice.pop("key") for choice in choices]
    assert all(key.startswith("import:") for key in keys)
    return choices


def test_a_csv_file_is_imported(server: Answering, tmp_path: Path) -> None:
    server.answer("/v1/imports", DONE)
    result = run("import", write(tmp_path, CSV), *MAPS, "--server", server.url)
    assert result.exit_code == 0
    assert sent(server) == EXPECTED
    assert result.stdout.splitlines() == [
        "3 rows: 3 recorded, 0 refused",
        "  advertising denied: 3",
        "  analytics granted: 2",
        "rows without a time: 1 (their grants count as expired)",
        "columns that were not used: shoe size (--map gives them a meaning)",
    ]


def test_json_lines_are_imported(server: Answering, tmp_path: Path) -> None:
    rows = [
        {"userId": 7, "consents": {"stats": 1, "ads": False}, "timestamp": 1767225600000},
        {"anonymous_id": "a", "preferences": {"analytics": True}, "noticeVersion": "3"},
    ]
    server.answer("/v1/imports", {"recorded": 1, "repeated": 1, "rejected": []})
    text = "\n\n".join(map(json.dumps, rows)) + "\n"
    file = write(tmp_path, text, "export.jsonl")
    maps = ["--map", "consents.stats=analytics", "--map", "consents.ads=advertising"]
    result = run("import", file, *maps, "--json", "--server", server.url)
    assert result.exit_code == 0
    assert sent(server) == [
        {
            "subject": {"userId": "7"},
            "preferences": {"analytics": True, "advertising": False},
            "timestamp": "2026-01-01T00:00:00.000000Z",
            "evidence": {"action": "import"},
        },
        {
            "subject": {"anonymousId": "a"},
            "preferences": {"analytics": True},
            "evidence": {"action": "import", "noticeVersion": "3"},
        },
    ]
    document = json.loads(result.stdout)
    assert (document["recorded"], document["repeated"], document["undated"]) == (1, 1, 1)
    assert document["answers"] == {
        "analytics": {"granted": 2},
        "advertising": {"denied": 1},
    }


def test_a_dry_run_sends_nothing(server: Answering, tmp_path: Path) -> None:
    file = write(tmp_path, CSV)
    result = run("import", file, *MAPS, "--dry-run", "--server", server.url)
    assert result.exit_code == 0
    assert result.stdout.startswith("3 rows: 3 would be sent, 0 refused\n")
    assert server.asked == []


def test_the_same_row_has_the_same_key_and_another_row_another(
    server: Answering, tmp_path: Path
) -> None:
    server.answer("/v1/imports", DONE)
    file = write(tmp_path, CSV)
    for _ in range(2):
        run("import", file, *MAPS, "--server", server.url)
    first, second = ([c["key"] for c in asked.body["choices"]] for asked in server.asked)
    assert first == second
    assert len(set(first)) == 3


def test_rows_go_out_in_batches_and_refusals_are_told_by_line(
    server: Answering, tmp_path: Path
) -> None:
    rows = "".join(f"v-{n},yes\n" for n in range(1200))
    file = write(tmp_path, "anonymousId,category.analytics\n" + rows)
    refusal = {"index": 1, "code": "missing_id", "message": "no"}
    server.answer(
        "/v1/imports",
        {"recorded": 500, "repeated": 0, "rejected": []},
        {"recorded": 499, "repeated": 0, "rejected": [refusal]},
        {"recorded": 200, "repeated": 0, "rejected": []},
    )
    result = run("import", file, "--json", "--server", server.url)
    assert result.exit_code == 1
    assert [len(asked.body["choices"]) for asked in server.asked] == [500, 500, 200]
    document = json.loads(result.stdout)
    assert document["recorded"] == 1199
    assert document["rejected"] == [{"line": 503, "message": "missing_id: no"}]


BAD_ROWS = {
    "neither yes nor no": ("v,maybe,\n", "stats says 'maybe', which is neither yes nor no"),
    "no identifier": (",yes,\n", "no identifier"),
    "no answer": ("v,,\n", "no category is answered"),
    "a time with two meanings": ("v,yes,03/04/2025\n", "when is no time that has one meaning"),
    "a short number as time": ("v,yes,20250131\n", "when is no time"),
    "too few cells": ("v,yes\n", "the row has 2 cells and the header 3"),
    "too many cells": ("v,yes,,x\n", "the row has 4 cells"),
}


@pytest.mark.parametrize(("row", "why"), BAD_ROWS.values(), ids=BAD_ROWS.keys())
def test_a_bad_row_is_refused_and_the_rest_taken(
    server: Answering, tmp_path: Path, row: str, why: str
) -> None:
    server.answer("/v1/imports", {"recorded": 2, "repeated": 0, "rejected": []})
    text = f'visitor,stats,when\n"first\nvisitor",yes,\n{row}last,no,\n'
    maps = ["--map", "visitor=anonymousId", "--map", "stats=analytics", "--map", "when=timestamp"]
    result = run("import", write(tmp_path, text), *maps, "--server", server.url)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"line 4: {why}")
    assert "3 rows: 2 recorded, 1 refused" in result.stdout
    assert [c["preferences"] for c in sent(server)] == [{"analytics": True}, {"analytics": False}]


BAD_LINES = {
    "no JSON": ("{", "the line is not valid JSON"),
    "no object": ("[1]", "the line is not a JSON object"),
    "a member twice": ('{"a":1,"a":2}', "a member stands twice"),
    "a list as answer": ('{"userId":"u","preferences":{"ads":["yes"]}}', "neither yes nor no"),
    "a list as identifier": ('{"userId":["u"],"preferences":{"ads":true}}', "userId must be text"),
    "two identifiers": (
        '{"userId":"u","user_id":"v","preferences":{"ads":true}}',
        "two columns name different userId",
    ),
    "too deep": ('{"a":' * 100_000, "the line is not valid JSON"),
}


@pytest.mark.parametrize(("line", "why"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused(tmp_path: Path, line: str, why: str) -> None:
    file = write(tmp_path, f"\n{line}\n", "export.jsonl")
    result = run("import", file, "--dry-run", "--json")
    assert result.exit_code == 1
    [refused] = json.loads(result.stdout)["rejected"]
    assert refused["line"] == 2
    assert why in refused["message"]


def test_words_of_another_system_can_be_given(tmp_path: Path) -> None:
    file = write(tmp_path, "userId,category.ads\nu,SUBSCRIBED\nv,gone\nw,out\n")
    words = ["--yes", "subscribed", "--no", "gone", "--yes", "out"]
    document = json.loads(run("import", file, *words, "--dry-run", "--json").stdout)
    assert document["answers"] == {"ads": {"granted": 2, "denied": 1}}


MISTAKES = {
    "a column that is not there": (["--map", "vistor=userId"], "the file has no such column"),
    "a map without a member": (["--map", "visitor"], "write it as COLUMN=MEMBER"),
    "a member twice": (["--map", "visitor=userId", "--map", "mail=userId"], "mapped already"),
    "a word for both": (["--yes", "x", "--no", "X"], "both grant and deny"),
    "a long delimiter": (["--delimiter", "::"], "not one character"),
}


@pytest.mark.parametrize(("args", "words"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_before_anything_is_sent(
    server: Answering, tmp_path: Path, args: list[str], words: str
) -> None:
    result = run("import", write(tmp_path, CSV), *args, "--server", server.url)
    assert result.exit_code == 2
    assert words in error_of(result)
    assert server.asked == []


def test_the_form_of_a_file_is_asked_for_when_its_name_does_not_say(tmp_path: Path) -> None:
    file = write(tmp_path, CSV, "export.txt")
    assert "--format" in error_of(run("import", file))
    assert run("import", file, "--format", "csv", *MAPS, "--dry-run").exit_code == 0


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "userId,ads,ads\nu,yes,no\n")
    assert "one name" in error_of(run("import", file, "--map", "ads=ads", "--dry-run"))


def test_other_separators_and_byte_order_marks_are_read(tmp_path: Path) -> None:
    file = write(tmp_path, "\ufeffuserId\tcategory.ads\r\nu\tyes\r\n", "export.tsv")
    result = run("import", file, "--delimiter", "tab", "--dry-run", "--json")
    assert json.loads(result.stdout)["answers"] == {"ads": {"granted": 1}}


def test_a_file_that_is_not_utf8_is_said(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("userId,category.ads\ncafé,yes\n".encode("latin-1"))
    result = run("import", str(path), "--dry-run")
    assert result.exit_code == 2
    assert "UTF-8" in error_of(result)


def test_a_busy_server_is_asked_again(server: Answering, tmp_path: Path) -> None:
    busy = Answer({"code": "busy", "message": "later"}, 429, {"Retry-After": "0"})
    server.answer("/v1/imports", busy, busy, DONE)
    result = run("import", write(tmp_path, CSV), *MAPS, "--server", server.url)
    assert result.exit_code == 0
    assert len(server.asked) == 3
    assert server.asked[0].body == server.asked[2].body


def test_an_import_that_was_interrupted_says_how_to_go_on(
    server: Answering, tmp_path: Path
) -> None:
    rows = "".join(f"v-{n},yes\n" for n in range(600))
    file = write(tmp_path, "anonymousId,category.analytics\n" + rows)
    first = {"recorded": 500, "repeated": 0, "rejected": []}
    server.answer("/v1/imports", first, Answer(raw=b"", status=500))
    result = run("import", file, "--server", server.url)
    assert result.exit_code == 4
    assert "500 rows are in; run the same command again" in error_of(result)


@given(st.text(), st.booleans())
def test_only_a_word_for_yes_grants(word: str, also_no: bool) -> None:
    plan = Plan({"x": "ads", "y": "ads"})
    row = {"userId": "u", "x": word, "y": "no" if also_no else ""}
    try:
        granted = plan.choice(row)["preferences"].get("ads", False)
    except RowError:
        granted = False
    assert granted == (word.strip().lower() in YES and not also_no)
    assert not YES & NO
