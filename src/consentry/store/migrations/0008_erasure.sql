-- Erasures whose job is not done, and how far it has come. The record names the person until then.

CREATE TABLE erasure (
    seq       INTEGER PRIMARY KEY, -- of the record
    record_id TEXT NOT NULL UNIQUE,
    asked_at  INTEGER NOT NULL,
    position  INTEGER NOT NULL DEFAULT 0, -- events before it were looked through
    "end"     INTEGER, -- where the log ended as it began to be looked through
    reply     INTEGER NOT NULL DEFAULT 0, -- kept replies up to this row were looked through
    erased    INTEGER NOT NULL DEFAULT 0
) STRICT;
