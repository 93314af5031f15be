"""A server that answers as told, and a filled store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.place import SIGNER, Answering, Served, answering, fill, open_store

PEOPLE = 5


@pytest.fixture
def server() -> Iterator[Answering]:
    with answering() as world:
        yield world


@pytest.fixture
async def served(tmp_path: Path) -> Served:
    """A store with records, still open as by a running server; its public key lies beside it."""
    path = tmp_path / "consentry.db"
    served = open_store(path)
    await fill(served, PEOPLE)
    Path(f"{path}.vkey").write_text(SIGNER.verify_key.to_text() + "\n")
    return served


@pytest.fixture
def store(served: Served, tmp_path: Path) -> Iterator[Path]:
    """The path of that store."""
    yield tmp_path / "consentry.db"
    served.store.close()
