"""The history of a real run under load is legal, and an altered one is not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.crash.history import check, load, main
from tests.crash.load import under_load

OPERATIONS = 2500
SEED = 20261123


@pytest.fixture(scope="module")
async def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The history of one run, which was found to be as promised."""
    folder = tmp_path_factory.mktemp("load")
    print(await under_load(folder, OPERATIONS, SEED))
    return folder / "history.jsonl"
