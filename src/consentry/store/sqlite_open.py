"""Opening a SQLite store: connections, schema, and the check that the ledger is whole."""

from __future__ import annotations

import os
from contextlib import closing

import apsw

from consentry.core.merkle import Frontier
from consentry.ports import StoreError
from consentry.store import codec, pages
from consentry.store.codec import RowKeys
from consentry.store.messages import NewestMessages
from consentry.store.naming import is_trusted
from consentry.store.sqlite_write import SQL as WRITE
from consentry.store.sqlite_write import Head
from consentry.store.statements import migrations, queries

READ = queries("sqlite_read")
PAGE_BYTES = 16_384
BUSY_MS = 5_000
CHECKPOINT_PAGES = 4_000
CACHE_KIB = 64 * 1024
REBUILDING = "rebuilding"  # in meta, while pages are written anew
TRUSTED_LINKS = 7  # the step of the schema after which links are filled in
_APPLICATION_ID = 0x434F4E53  # "CONS", in the file's header


def connect_writer(path: str) -> apsw.Connection:
    """The one connection that writes; makes the file when there is none.

    ``synchronous=FULL`` makes a commit wait until the disk has it (sqlite.org/pragma.html):
    in WAL mode with less, a power cut takes acknowledged commits back. ``secure_delete``: what was
    deleted or written anew is overwritten, so that whoever is erased is in no free page either.
    """
    try:
        _make_file(path)
        db = pages.connect(path)
        db.set_busy_timeout(BUSY_MS)
        db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        pages.give_sums(db)
        mode = db.execute("PRAGMA journal_mode=WAL").get
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    except (OSError, apsw.Error) as error:
        raise StoreError(f"cannot open the store at {path}: {pages.why(error)}") from error
    if mode != "wal":
        db.close()
        raise StoreError(f"cannot open the store at {path}: its file system has no WAL mode")
    return db


def connect_reader(path: str) -> apsw.Connection:
    """A connection that only reads, and sees what is durable."""
    try:
        db = pages.connect(path, apsw.SQLITE_OPEN_READWRITE)
        db.set_busy_timeout(BUSY_MS)
        db.execute("PRAGMA query_only=1")
        db.execute("PRAGMA temp_store=MEMORY")
        db.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
    except apsw.Error as error:
        raise StoreError(f"cannot open the store at {path}: {pages.why(error)}") from error
    return db


def migrate(db: apsw.Connection) -> None:
    """Bring the schema up to date, each step in its own transaction.

    Raises StoreError when the file is another program's or of a later version of this one.
    """
    steps = migrations()
    try:
        if _was_cut_off(db.filename):
            pages.write_anew(db)
            db.execute(WRITE["drop_meta"], (REBUILDING,))
        _check_owner(db, len(steps))
        for step in steps[_version(db) :]:
            with db:
                db.execute(step.sql)
                if step.number == TRUSTED_LINKS:
                    _trust_links(db)
                db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
                db.execute(f"PRAGMA user_version={step.number}")
        if not pages.have_sums(db):
            _rebuild(db)
    except apsw.Error as error:
        raise StoreError(
            f"cannot bring the store's schema up to date: {pages.why(error)}"
        ) from error


def _was_cut_off(path: str) -> bool:
    """Whether pages were being written anew and have no checksums yet. Asked by a connection of its
    own: a page that was read unchecked must not be written back, with a checksum, by another."""
    with closing(connect_reader(path)) as db, pages.unchecked(db):
        ours = db.execute("PRAGMA application_id").get == _APPLICATION_ID
        return ours and db.execute(READ["meta"], (REBUILDING,)).get is not None


def _rebuild(db: apsw.Connection) -> None:
    # Rows that were counted by their place get another one: erasures look at all of them.
    db.execute(WRITE["look_at_replies_again"])
    db.execute(WRITE["put_meta"], (REBUILDING, b""))
    pages.rebuild(db)
    db.execute(WRITE["drop_meta"], (REBUILDING,))


def _trust_links(db: apsw.Connection) -> None:
    """Find the first record of a trusted door for each link that was there before it was asked."""
    keys = row_keys(db)
    for seq, body in db.execute(READ["bodies"]):
        try:
            said = codec.decode_linking(body)
        except codec.UNREADABLE:
            continue  # then it trusts nothing; `ledger verify` finds it
        if is_trusted(said.trust):
            ends = [(keys.node(left), keys.node(right)) for left, right in said.links]
            for left, right in ends:
                db.execute(WRITE["trust_link"], (seq, left, right))
                db.execute(WRITE["trust_link"], (seq, right, left))


def row_keys(db: apsw.Connection) -> RowKeys:
    """The store's own hash key, made when it is opened for the first time."""
    key = db.execute(READ["meta"], ("row_key",)).get
    if key is None:
        key = RowKeys.new_key()
        db.execute(WRITE["put_meta"], ("row_key", key))
    return RowKeys(key)


def head(db: apsw.Connection) -> Head:
    """Where the logs end. Raises StoreError when the ledger and its last word do not agree."""
    stored = db.execute(READ["meta"], ("frontier",)).get
    try:
        frontier = Frontier() if stored is None else Frontier.from_bytes(stored)
    except ValueError as error:
        raise StoreError("the store is damaged: the ledger's frontier is unreadable") from error
    size = db.execute(READ["size"]).get
    signed = db.execute(READ["checkpoint"]).fetchone()
    expected = (frontier.size, frontier.root()) if frontier.size else None
    if size != frontier.size or (signed[1:] if signed else None) != expected:
        raise StoreError("the store is damaged: the ledger and its checkpoint do not agree")
    end = max(db.execute(READ["end"]).get or 0, _number(db, "pruned_to"))
    return Head(end, frontier, max(db.execute(READ["newest"]).get, _number(db, "pruned_newest")))


def newest_messages(db: apsw.Connection, keys: RowKeys, end: int, most_keys: int) -> NewestMessages:
    """The message ids that the table may lack, read from the log."""
    missing = (
        (keys.message(event.source, event.message_id), first + n)
        for first, events in db.execute(READ["groups_from"], (_number(db, "indexed_to"),))
        for n, event in enumerate(codec.decode_events(events))
    )
    return NewestMessages(missing, end, most_keys)


def copy(path: str, target: str) -> None:
    """Copy the database at ``path`` to a new file, and check the copy.

    Reads one snapshot, so the writer need not wait. Raises StoreError as ``Store.backup`` does.
    """
    partial = f"{target}.partial"
    if os.path.exists(target):
        raise StoreError(f"cannot write the copy {target}: there is a file already")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"cannot write the copy {partial}: {error.strerror}") from error
    try:
        _copy_and_check(path, partial)
        os.link(partial, target)  # unlike a rename, it never replaces a file
        _sync_folder(target)
    except OSError as error:
        raise StoreError(f"cannot write the copy {target}: {error.strerror}") from error
    except apsw.Error as error:
        raise StoreError(f"cannot write the copy {target}: {pages.why(error)}") from error
    finally:
        for name in (partial, f"{partial}-wal", f"{partial}-shm"):
            if os.path.exists(name):
                os.unlink(name)


def _copy_and_check(path: str, partial: str) -> None:
    source = connect_reader(path)
    copied = pages.connect(partial)
    try:
        pages.give_sums_to_copy(copied, PAGE_BYTES)
        with copied.backup("main", source, "main") as backup:
            backup.step(-1)
        copied.execute("PRAGMA journal_mode=DELETE")  # one file; it is WAL again when served
        found = copied.execute("PRAGMA integrity_check").get
    finally:
        copied.close()
        source.close()
    if found != "ok":
        raise StoreError("the copy is not sound; the store itself may be damaged")


def _check_owner(db: apsw.Connection, newest: int) -> None:
    version = _version(db)
    if version > newest:
        raise StoreError(
            f"the store has schema {version}, and this version of consentry knows {newest}: "
            "use the version that wrote it, or a later one"
        )
    owner = db.execute("PRAGMA application_id").get
    empty = db.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if owner != _APPLICATION_ID and not empty:
        raise StoreError("the file is a database of another program")


def _number(db: apsw.Connection, name: str) -> int:
    """A number in meta; 0 when there is none."""
    return int.from_bytes(db.execute(READ["meta"], (name,)).get or b"", "big")


def _version(db: apsw.Connection) -> int:
    return int(db.execute("PRAGMA user_version").get)


def _make_file(path: str) -> None:
    """An empty database that only its owner may read; SQLite gives its other files the same."""
    if not os.path.exists(path):
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        _sync_folder(path)


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
