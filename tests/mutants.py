"""Breaks the core on purpose, a little and in every place, and asks whether the tests notice.

``mutmut`` breaks each function of the modules named in ``pyproject.toml``. It leaves tables,
properties and signatures alone, so ``mutants.toml`` lists some changes to those: its ``seeded``.
It also lists the survivors that are no worse than the original, each with the reason: those and
no others may survive, and they must.

Run it with ``make mutants``. Exits 1 when something survived that should not, or the reverse.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
LIST = Path(__file__).with_suffix(".toml")
WORK = ROOT / ".build" / "mutants-run"  # a copy, which mutmut works on
COPIED = ("src", "tests", "spec", "pyproject.toml")
MUTMUT = str(Path(sys.executable).with_name("mutmut"))
AT_ONCE = len(os.sched_getaffinity(0))
LONGEST_S = 600.0  # for the tests of one seeded change
KILLED, TIMED_OUT = "killed", "timeout"
ENVIRONMENT = os.environ | {"HYPOTHESIS_PROFILE": "mutants"}
ENVIRONMENT.pop("PYTHONPATH", None)  # what is broken must not be hidden by what is not


class Mutant(NamedTuple):
    """One change of one function: the lines taken out and put in, joined."""

    function: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.function}\n    - {self.old}\n    + {self.new}"


def function_of(name: str) -> str:
    """``a.b.xǁClassǁdo__mutmut_3`` and ``a.b.x_do__mutmut_3`` by the names in the source."""
    module, _, mangled = name.rpartition(".")
    function = mangled.rsplit("__mutmut_", 1)[0].removeprefix("x")
    return f"{module}.{function[1:].replace('ǁ', '.')}"


def mutant_of(name: str, diff: str) -> Mutant:
    """The mutant that ``mutmut show`` tells of."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "#"))]
    old, new = (" ".join(line[1:].strip() for line in lines if line[:1] == sign) for sign in "-+")
    return Mutant(function_of(name), old, new)


def differences(found: list[Mutant], listed: list[Mutant]) -> tuple[list[Mutant], list[Mutant]]:
    """Survivors that are not on the list, and those on it that did not survive."""
    survived, expected = Counter(found), Counter(listed)
    return list((survived - expected).elements()), list((expected - survived).elements())


def fresh_copy() -> None:
    """What mutmut remembers of an earlier run goes with it."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, WORK / name, ignore=shutil.ignore_patterns("node_modules"))
        else:
            shutil.copy(source, WORK)


def mutmut(*arguments: str, quiet: bool = True) -> str:
    done = subprocess.run(
        [MUTMUT, *arguments], cwd=WORK, env=ENVIRONMENT, check=True, text=True,
        stdout=subprocess.PIPE if quiet else None,
    )  # fmt: skip
    return done.stdout or ""


def results() -> dict[str, str]:
    """Each mutant with what became of it."""
    lines = mutmut("results", "--all", "true").splitlines()
    pairs = (line.strip().rpartition(": ") for line in lines if "__mutmut_" in line)
    return {name: status for name, _, status in pairs}


def survives(seeded: dict[str, Any]) -> bool:
    """Whether the tests pass in spite of a change; ``old`` must be in the file exactly once."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        path = Path(folder) / seeded["file"]
        text = path.read_text()
        if text.count(seeded["old"]) != 1:
            raise SystemExit(f"{seeded['file']} does not hold this once: {seeded['old']}")
        path.write_text(text.replace(seeded["old"], seeded["new"]))
        environment = ENVIRONMENT | {"PYTHONPATH": f"{folder}/src{os.pathsep}{ROOT}"}
        command = [
            sys.executable,
            *["-m", "pytest", "-qx", "-p", "no:cacheprovider"],
            *seeded["tests"],
        ]
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
            )
        except subprocess.TimeoutExpired:
            return False
    if done.returncode > 1:  # it broke before a test could notice
        raise SystemExit(done.stdout + done.stderr)
    return done.returncode == 0


def report(title: str, mutants: list[Any]) -> None:
    if mutants:
        print(f"\n{title}:")
    for mutant in mutants:
        print(f"  {mutant}")


def survivors(status: dict[str, str]) -> list[Mutant]:
    """What was not noticed, or what no test was asked about."""
    names = [name for name, how in status.items() if how not in (KILLED, TIMED_OUT)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        diffs = pool.map(lambda name: mutmut("show", name), names)
        return list(map(mutant_of, names, diffs))


def unnoticed(seeds: list[dict[str, Any]]) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        alive = list(pool.map(survives, seeds))
    return [f"{s['file']}: {s['new']}" for s, lived in zip(seeds, alive, strict=True) if lived]


def as_list(found: list[Mutant]) -> str:
    """Survivors as they would stand on the list, but for the reason."""
    entry = '[[survivor]]\nfunction = {}\nold = {}\nnew = {}\nwhy = ""\n'
    return "\n".join(
        entry.format(*(json.dumps(value, ensure_ascii=False) for value in one)) for one in found
    )


def main(arguments: list[str]) -> int:
    """``--no-run`` reads the results of the last run; ``--toml`` prints its survivors as a list."""
    listed = tomllib.loads(LIST.read_text())
    seeds = listed["seeded"]
    if "--no-run" in arguments:
        seeds = []
    else:
        fresh_copy()
        mutmut("run", "--max-children", str(AT_ONCE), quiet=False)
    lived = unnoticed(seeds)
    status = results()
    found = survivors(status)
    if "--toml" in arguments:
        print(as_list(found))
    expected = [Mutant(s["function"], s["old"], s["new"]) for s in listed.get("survivor", ())]
    unlisted, dead = differences(found, expected)
    report("These survived, and are not on the list", unlisted)
    report("These are on the list, and did not survive", dead)
    report("These were seeded, and were not noticed", lived)
    counts = Counter(status.values())
    print(
        f"\n{len(status)} mutants: {counts[KILLED]} killed, {counts[TIMED_OUT]} timed out, "
        f"{len(found)} survived, {len(expected)} listed; {len(seeds)} seeded, "
        f"{len(seeds) - len(lived)} killed"
    )
    return 1 if unlisted or dead or lived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
