"""The product with one promise broken on purpose: a copy of its source with one line exchanged.

Who checks must be seen to find it. The copy lies in a temporary folder; the server under test is
started from it, and everything else is as always.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import consentry


class Mutant(NamedTuple):
    """In ``file``, ``old`` is replaced by ``new``; it must stand there exactly once."""

    file: str
    old: str
    new: str


NOT_ASKED_AGAIN = (
    Mutant(
        "flow/deliver.py",
        "        allowed = owed.allowed()\n",
        "        allowed = True\n",
    ),
    Mutant(
        "flow/deliver.py",
        "if world.shadow or not owed.allowed():",
        "if world.shadow:",
    ),
)
"""What was withdrawn while it waited is sent all the same."""

TOLD_TOO_EARLY = (
    Mutant(
        "flow/accept.py",
        "    committed = await world.store.commit(\n"
        "        Commit(records=tuple(records), events=stored, orders=orders)\n"
        "    )\n",
        "    late = Commit(records=tuple(records), events=stored, orders=orders)\n"
        "    asyncio.get_running_loop().call_later(\n"
        "        0.1, lambda: asyncio.ensure_future(world.store.commit(late))\n"
        "    )\n"
        "    from consentry.ports import Committed\n"
        "    committed = Committed((), (None,) * len(stored))\n",
    ),
)
"""The client is told before it is durable."""

KEYS_FORGOTTEN = (
    Mutant(
        "flow/record_choice.py",
        "replies = (Reply(once.key, once.digest, 201, msgspec.json.encode(body)),)",
        "replies = ()",
    ),
)
"""A choice that is sent again is recorded again."""

OVERTAKING = (Mutant("flow/lane.py", "batch.append(ready.popleft())", "batch.append(ready.pop())"),)
"""Of a subject's events that wait, the newest goes first."""


def mutated(folder: Path, mutants: tuple[Mutant, ...]) -> dict[str, str]:
    """Make the copy; returns the environment in which Python imports it."""
    source = Path(consentry.__file__).parent
    copy = folder / "mutant" / "consentry"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    for mutant in mutants:
        path = copy / mutant.file
        text = path.read_text()
        assert text.count(mutant.old) == 1, f"{mutant.file} has changed: find the line again"
        path.write_text(text.replace(mutant.old, mutant.new))
    above = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(copy.parent), above]))}
