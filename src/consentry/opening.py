"""The store of a workspace is opened, with the key that signs its ledger."""

from __future__ import annotations

import os
from pathlib import Path

from consentry.clock import Clock
from consentry.config import Config
from consentry.ledger.notary import Notary
from consentry.ledger.note import SigningKey
from consentry.ports import Store


class BadStore(Exception):
    """The store's address is not understood. The message says what to write."""


def open_store(config: Config, clock: Clock) -> tuple[Store, SigningKey]:
    """The store that ``[store].url`` names, with the key that signs its ledger.

    Raises BadStore, StoreLocked.
    """
    url = config.store_url
    if url == "memory://":
        from consentry.store.memory import MemoryStore

        key = SigningKey.generate(ledger_name(config.workspace))
        return MemoryStore(Notary(config.workspace, key), clock=clock.now), key
    path = sqlite_path(url)
    from consentry.store.sqlite import SqliteStore

    key = signing_key(path, config.workspace)
    return SqliteStore.open(str(path), Notary(config.workspace, key), clock=clock.now), key


def sqlite_path(url: str) -> Path:
    """The file of ``sqlite:///relative`` or ``sqlite:////absolute``. Raises BadStore."""
    if not url.startswith("sqlite:///"):
        raise BadStore("[store].url must be sqlite:///FILE or memory://")
    return Path(url.removeprefix("sqlite:///"))


def signing_key(store: Path, workspace: str) -> SigningKey:
    """The ledger's key, in a file of its own beside the store that only its owner reads."""
    path = key_path(store)
    if path.exists():
        return SigningKey.from_text(path.read_text().strip())
    key = SigningKey.generate(ledger_name(workspace))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(key.to_text() + "\n")
        file.flush()
        os.fsync(file.fileno())
    # Whoever verifies needs the public half alone, and must not have to open the other.
    store.with_name(store.name + ".vkey").write_text(key.verify_key.to_text() + "\n")
    return key


def key_path(store: Path) -> Path:
    """Where the signing key of a store lies."""
    return store.with_name(store.name + ".keys")


def ledger_name(workspace: str) -> str:
    """The origin of the workspace's checkpoints: no spaces, no plus sign (C2SP signed-note)."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in workspace.lower())
    return f"consentry.local/{plain.strip('-') or 'workspace'}"
