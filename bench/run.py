"""All benchmarks, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = ("decision", "store", "ingest")


def main() -> int:
    for name in SCRIPTS:
        print(f"== {name}", flush=True)
        code = subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
