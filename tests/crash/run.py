"""``python -m tests.crash.run --cycles 500``: the kill loop for as long as somebody cares to wait.

Prints its seed, goes on from it with ``--seed``, and ends with exit code 1 on a broken promise.
The folder with the store, the server's log and ``history.jsonl`` is kept then, and named.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.crash.kill import kill_again_and_again


def main(arguments: list[str]) -> int:
    """One run."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.run", description=__doc__)
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    chosen = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="consentry-crash-"))
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {line}", flush=True)

    say(f"seed {chosen.seed}, {chosen.cycles} cycles")
    try:
        found = asyncio.run(kill_again_and_again(folder, chosen.cycles, chosen.seed, say=say))
    except Exception:
        traceback.print_exc()
        say(f"BROKEN: seed {chosen.seed}; everything is kept in {folder}")
        return 1
    say(f"kept: {found}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
