"""`consentry subject erase` and `subject erasure`: erase a person, and see what came of it."""

from __future__ import annotations

import time
from typing import Any

import click

from consentry.cli.options import filled, json_option, with_server, with_subject
from consentry.cli.output import emit, note, progress, say, table

LOOK_EVERY_S = 0.2
_OURS = {
    "erasing": "still being erased",
    "owed": "nothing is left, but for whom the orders below have to name until they have ended",
    "erased": "nothing is left",
}
_COLUMNS = ("destination", "kind", "asked", "state", "grade", "detail", "what it cannot do")


@click.command("erase")
@with_subject
@with_server
@click.option("--reason", help="Why; erased with the rest.")
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@click.option(
    "--wait",
    "wait_s",
    default=10.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Seconds to wait for the destinations' answers.",
)
@json_option
def erase(
    server: Any,
    subject: dict[str, str],
    reason: str | None,
    yes: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """Erase a person, here and at every destination that can. It cannot be undone.

    From the answer on nothing about them is stored or sent, and no import brings them back.
    Identifiers that somebody else's account has too stay.
    """
    if not yes:
        _say_what_happens(server)
        click.confirm("Erase this person?", abort=True, err=True)
    body = {"subject": subject, **filled({"reason": reason})}
    answer = server.post("/v1/subjects/erase", body)
    found = _wait_for(server, str(answer.get("erasureId")), wait_s)
    if as_json:
        emit({**answer, **found})
        return
    say(f"recorded as {answer.get('erasureId')}: suppressed from now on")
    if answer.get("shared"):
        say(f"{answer['shared']} identifiers stay: somebody else's account has them too")
    _print(found)


@click.command("erasure")
@click.argument("erasure_id")
@with_server
@json_option
def erasure(server: Any, erasure_id: str, as_json: bool) -> None:
    """What came of an erasure, per system."""
    found = server.get(_path(erasure_id))
    if as_json:
        emit(found)
    else:
        _print(found)


def _path(erasure_id: str) -> str:
    from urllib.parse import quote

    return f"/v1/erasures/{quote(erasure_id, safe='')}"


def _say_what_happens(server: Any) -> None:
    """On standard error, before the question: which system can do what."""
    note("this erases what is known of the person here, and cannot be undone")
    for one in server.get("/v1/destinations").get("destinations") or ():
        verbs = one.get("verbs") or ()
        if "erase" in verbs:
            what = "is told to erase them, where it knows them by an identifier that is proven"
        elif "suppress" in verbs:
            what = "cannot erase: it is told to stop using them"
        else:
            what = "cannot be told: nothing more is sent to it, and it keeps what it has"
        note(f"{one.get('name')} {what}")
    note("backups and exports that were made before are not reached")


def _wait_for(server: Any, erasure_id: str, wait_s: float) -> dict[str, Any]:
    """How it stands once nothing is open any more, or after so many seconds."""
    found: dict[str, Any] = server.get(_path(erasure_id))
    systems = found.get("systems") or ()
    ends_at = time.monotonic() + wait_s
    bar, task = progress("telling destinations", len(systems))
    with bar:
        while (found.get("open") or found.get("ours") == "erasing") and time.monotonic() < ends_at:
            bar.update(task, completed=len(systems) - int(found.get("open") or 0))
            time.sleep(LOOK_EVERY_S)
            found = server.get(_path(erasure_id))
    return found


def _print(found: dict[str, Any]) -> None:
    say(f"here: {_OURS.get(str(found.get('ours')), found.get('ours'))}")
    systems = found.get("systems") or ()
    if not systems:
        say("no destination is owed anything")
        return
    table(_COLUMNS, map(_row, systems))
    if found.get("open"):
        say(
            f"{found['open']} have not answered yet: consentry subject erasure {found['erasureId']}"
        )
    if found.get("failed"):
        say(f"{found['failed']} failed for good: consentry propagation retry --all")


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    members = ("destination", "kind", "verb", "state", "grade", "detail", "cannot")
    return tuple(one.get(member) for member in members)
