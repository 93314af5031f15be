"""The lock that gives a store one serving process. The kernel lets go of it when we die."""

from __future__ import annotations

import fcntl
import os

from consentry.ports import StoreError, StoreLocked


class StoreLock:
    """An exclusive lock on the file beside a database. The file stays; only the lock goes."""

    def __init__(self, path: str) -> None:
        """Take it. Raises StoreLocked when another holds it, StoreError when it cannot be made."""
        try:
            self._file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"cannot open the store at {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise StoreLocked(
                f"another process serves the store at {path}: "
                "stop it first, or give this one a store of its own"
            ) from error

    def release(self) -> None:
        """Let go. Twice is once."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
