"""An audience: the rows of a CSV file, each with the question that decides whether it stays.

Nothing is guessed. A row that cannot be read, names nobody, or is not answered is left out.
No reason names a person: it is shown on terminals and kept in logs.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from consentry.core.event import LONGEST_ID

MEMBERS = {
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "email": "email",
    "phone": "phone",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it was read: its cells, and its question or what is wrong with it."""

    line: int
    cells: Sequence[str]
    question: Mapping[str, Any] | None
    flaw: str = ""


def named(columns: Sequence[str], mapped: Mapping[str, str]) -> dict[int, str]:
    """Which column is which member of a subject. ``mapped`` is member by column, beside the usual."""
    found = {}
    for place, column in enumerate(columns):
        word = mapped.get(column, column.strip().lower())
        if word in MEMBERS:
            found[place] = MEMBERS[word]
    return found


def read(
    source: IO[str], columns: Sequence[str], of: Mapping[int, str], asked: Mapping[str, Any]
) -> Iterator[Row]:
    """Every row after the header, one at a time. ``asked`` is what is asked of each."""
    reader = csv.reader(source, strict=True)
    while True:
        line = reader.line_num + 2  # counted from the header, which was read before
        try:
            cells = next(reader, None)
        except csv.Error:
            yield Row(line, (), None, "not_csv")
            continue
        if cells is None:
            return
        if cells:
            yield _row(line, cells, columns, of, asked)


def _row(
    line: int,
    cells: Sequence[str],
    columns: Sequence[str],
    of: Mapping[int, str],
    asked: Mapping[str, Any],
) -> Row:
    if len(cells) != len(columns):
        return Row(line, cells, None, "wrong_number_of_cells")
    subject = {member: text for n, member in of.items() if (text := cells[n].strip())}
    if not subject:
        return Row(line, cells, None, "names_nobody")
    if any(len(text) > LONGEST_ID for text in subject.values()):
        return Row(line, cells, None, "identifier_too_long")
    return Row(line, cells, {"id": str(line), "subject": subject, **asked})


def why_not(answer: Any, question: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Why a row is left out, and whether that was decided; None where it may stay.

    It stays for one allow, of what was asked, and for nothing else.
    """
    if not isinstance(answer, dict) or answer.get("id") != question["id"]:
        return "not_answered", False
    if "error" in answer:
        error = answer["error"]
        return str(error.get("code", "error")) if isinstance(error, dict) else "error", False
    decisions = answer.get("decisions")
    if not isinstance(decisions, list) or len(decisions) != 1:
        return "not_answered", False
    decision = decisions[0]
    if not isinstance(decision, dict) or not _answers(decision, question):
        return "not_answered", False
    if decision.get("decision") == "allow":
        return None, True
    failed = [
        f"{c.get('id')} {c.get('why')}"
        for c in decision.get("categories") or ()
        if isinstance(c, dict) and c.get("effective") != "granted"
    ]
    reason = str(decision.get("reason", "withheld"))
    return f"{reason}: {', '.join(failed)}" if failed else reason, True


def _answers(decision: Mapping[str, Any], question: Mapping[str, Any]) -> bool:
    """Whether this is about what was asked."""
    if "destinations" in question:
        return [decision.get("destination")] == list(question["destinations"])
    return (decision.get("topic"), decision.get("channel")) == (
        question["topic"],
        question["channel"],
    )
