-- The first schema. Times are microseconds since 1970-01-01T00:00:00Z. Identifiers stand only
-- inside "body" and "events"; where a row is found by one, there is a keyed hash of it.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID, STRICT;

-- The ledger. seq is the leaf's index in the Merkle tree.
CREATE TABLE record (
    seq         INTEGER PRIMARY KEY,
    record_id   TEXT NOT NULL UNIQUE,
    type        TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    leaf        BLOB NOT NULL,
    body        BLOB NOT NULL
) STRICT;

-- Which records name an identifier.
CREATE TABLE record_node (
    node BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (node, seq)
) WITHOUT ROWID, STRICT;

-- What records say of an identifier. The fact is whole here, so that a decision needs one look.
CREATE TABLE fact (
    node BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    n    INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (node, seq, n)
) WITHOUT ROWID, STRICT;

-- Each link twice, once from either end. The other identifier is read from record seq.
CREATE TABLE link (
    node  BLOB NOT NULL,
    other BLOB NOT NULL,
    seq   INTEGER NOT NULL,
    PRIMARY KEY (node, other)
) WITHOUT ROWID, STRICT;

-- Each merge twice, once from either account. The merge is read from record seq.
CREATE TABLE merge (
    node BLOB NOT NULL,
    seq  INTEGER NOT NULL,
    PRIMARY KEY (node, seq)
) WITHOUT ROWID, STRICT;

-- The identifiers on the suppression list now; seq is the record that put them there.
CREATE TABLE suppression (
    seq       INTEGER NOT NULL,
    node      BLOB NOT NULL UNIQUE,
    since     INTEGER NOT NULL,
    record_id TEXT NOT NULL,
    PRIMARY KEY (seq, node)
) WITHOUT ROWID, STRICT;

CREATE TABLE checkpoint (
    size INTEGER PRIMARY KEY,
    root BLOB NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE TABLE notice (
    digest TEXT PRIMARY KEY,
    text   TEXT NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE reply (
    key    TEXT PRIMARY KEY,
    digest BLOB NOT NULL,
    status INTEGER NOT NULL,
    body   BLOB NOT NULL
) STRICT;

-- Events, as many in a row as were committed together.
CREATE TABLE event_group (
    first        INTEGER PRIMARY KEY,
    count        INTEGER NOT NULL,
    received_max INTEGER NOT NULL,
    events       BLOB NOT NULL
) STRICT;

-- Which message ids were accepted: the key is a hash of source and message id. Those of the
-- newest events may be missing here; they are read from event_group when the store is opened.
CREATE TABLE message (
    key      BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- Where each destination's worker stands.
CREATE TABLE cursor (
    destination TEXT PRIMARY KEY,
    position    INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE delivery (
    destination TEXT NOT NULL,
    position    INTEGER NOT NULL,
    state       TEXT NOT NULL,
    last_at     INTEGER NOT NULL, -- the later of first_at and next_at
    body        BLOB NOT NULL,
    PRIMARY KEY (destination, position)
) STRICT;

CREATE INDEX delivery_position ON delivery (position);

-- Attempts, as many in a row as were recorded together at positions near each other.
-- "first" and "last" are positions less than a fixed span apart (see the writer).
CREATE TABLE attempt_group (
    id          INTEGER PRIMARY KEY,
    destination TEXT NOT NULL,
    first       INTEGER NOT NULL,
    last        INTEGER NOT NULL,
    ended_max   INTEGER NOT NULL,
    attempts    BLOB NOT NULL
) STRICT;

CREATE INDEX attempt_group_first ON attempt_group (first, last);
CREATE INDEX attempt_group_destination ON attempt_group (destination, last);

CREATE TABLE pause (
    destination TEXT PRIMARY KEY,
    reason      TEXT NOT NULL,
    since       INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE policy (
    policy_id INTEGER PRIMARY KEY,
    version   TEXT NOT NULL UNIQUE,
    canonical BLOB NOT NULL
) STRICT;
