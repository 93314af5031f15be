"""Pages of the database with their checksums: what the disk altered is an error, never an answer.

SQLite itself does not notice a bit that flips in a page, and one bit is what lies between a yes
and a no. Its checksum VFS (sqlite.org/cksumvfs.html), which comes with apsw, writes eight bytes
at the end of each page and compares them whenever the page is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import apsw

from consentry.ports import StoreError

SUM_BYTES = 8
_VFS = "cksmvfs"
_EXTENSION = "cksumvfs"
_FOLDER = "sqlite_extra_binaries"  # beside apsw; asking apsw for it costs 50 ms at each start
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE


def connect(path: str, flags: int = _READ_WRITE) -> apsw.Connection:
    """A connection that keeps and compares checksums. Raises StoreError, apsw.Error."""
    return apsw.Connection(path, flags=flags, vfs=_checked())


def give_sums(db: apsw.Connection) -> None:
    """Before anything is written to a new database: its pages get checksums."""
    if db.execute("PRAGMA page_count").get == 0:
        db.reserve_bytes("main", SUM_BYTES)


def give_sums_to_copy(db: apsw.Connection, page_bytes: int) -> None:
    """Before another database is copied into this empty one. The VFS learns from the first page that
    there are checksums, and of a copy that page is written last; so there has to be one before.
    """
    db.execute(f"PRAGMA page_size={page_bytes}")
    give_sums(db)
    db.execute("CREATE TABLE first (page)")


def have_sums(db: apsw.Connection) -> bool:
    """Whether the pages of the database have them; those of earlier versions have none."""
    return bool(db.reserve_bytes("main") == SUM_BYTES)


def rebuild(db: apsw.Connection) -> None:
    """Write every page anew, with its checksum. It needs twice the room that the database has:
    beside it, and in the folder for temporary files.

    Nobody else may have the database open. Raises apsw.Error, and StoreError where the database
    is damaged, which checksums would only seal; then nothing has changed. Whoever is cut off after
    the first part has to ``write_anew``: until then pages are read ``unchecked``.
    """
    _refuse_damage(db)
    db.execute("PRAGMA journal_mode=DELETE")
    _give_room(db)
    # The VFS learns from the first page that there are sums, and of a database that is larger than
    # the cache it is written last. So everything is written once more, now that it knows.
    write_anew(db)
    db.execute("PRAGMA journal_mode=WAL")


def _refuse_damage(db: apsw.Connection) -> None:
    found = read_all(db)
    if found is not None:
        raise StoreError(f"the store is damaged: {found}")


def _give_room(db: apsw.Connection) -> None:
    """For a checksum in each page; large databases get none yet."""
    db.execute("PRAGMA temp_store=FILE")
    db.reserve_bytes("main", SUM_BYTES)
    db.execute("VACUUM")


def write_anew(db: apsw.Connection) -> None:
    """Write every page of a database that has room for checksums, with its own.

    Raises apsw.Error, and StoreError as ``rebuild`` does.
    """
    db.execute("PRAGMA temp_store=FILE")
    with unchecked(db):
        _refuse_damage(db)
        db.execute("VACUUM")
    db.execute("PRAGMA temp_store=MEMORY")


@contextmanager
def unchecked(db: apsw.Connection) -> Iterator[None]:
    """Meanwhile pages are not compared with their checksums."""
    db.execute("PRAGMA checksum_verification=OFF")
    try:
        yield
    finally:
        db.execute("PRAGMA checksum_verification=ON")


def read_all(db: apsw.Connection) -> str | None:
    """Read and compare every page: the first fault, None where there is none. Raises apsw.Error."""
    found = str(db.execute("PRAGMA quick_check(1)").get)
    return None if found == "ok" else found


def why(error: Exception) -> str:
    """What to say of an error: the disk is not to blame for a page that it altered long ago."""
    if getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_DATA:
        return "a page of the file is not what was written: it is damaged"
    return str(error)


@cache
def _checked() -> str:
    """The name of the VFS, which is there once for the whole process."""
    file = Path(apsw.__file__).parent / _FOLDER / _EXTENSION
    loader = apsw.Connection(":memory:")
    try:
        loader.enable_load_extension(True)
        loader.load_extension(str(file))
    except apsw.Error as error:
        message = "apsw was built without SQLite's checksum VFS: install its wheel"
        raise StoreError(message) from error
    finally:
        loader.close()
    return _VFS
