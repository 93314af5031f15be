-- What a choice owes to other systems. The order's number is its place among all of them.

CREATE TABLE orders (
    number          INTEGER PRIMARY KEY,
    order_id        TEXT NOT NULL UNIQUE,
    record_id       TEXT NOT NULL,
    seq             INTEGER NOT NULL, -- of the record
    destination     TEXT NOT NULL,
    state           TEXT NOT NULL,
    acknowledged_at INTEGER NOT NULL,
    escalated       INTEGER NOT NULL,
    read_at         INTEGER,
    drift           INTEGER NOT NULL,
    body            BLOB NOT NULL
) STRICT;

CREATE INDEX orders_of_record ON orders (record_id);
CREATE INDEX orders_of_destination ON orders (destination, number);
CREATE INDEX orders_waiting ON orders (destination, number, acknowledged_at)
    WHERE state = 'waiting';
CREATE INDEX orders_overdue ON orders (escalated, acknowledged_at) WHERE state = 'waiting';
CREATE INDEX orders_to_read ON orders (read_at) WHERE read_at IS NOT NULL;
CREATE INDEX orders_drifting ON orders (number) WHERE drift = 1;

-- Whom an order is about: a hash of each identifier.
CREATE TABLE order_node (
    node   BLOB NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (node, number)
) WITHOUT ROWID, STRICT;

CREATE TABLE order_attempt (
    id      INTEGER PRIMARY KEY,
    number  INTEGER NOT NULL,
    attempt BLOB NOT NULL
) STRICT;

CREATE INDEX order_attempts ON order_attempt (number);
