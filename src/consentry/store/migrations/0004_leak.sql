-- How often pages tried to send something without consent. No row is about a person.

CREATE TABLE leak (
    source   TEXT NOT NULL,
    host     TEXT NOT NULL,
    kind     TEXT NOT NULL,
    page     TEXT NOT NULL,
    via      TEXT NOT NULL,
    stopped  INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at  INTEGER NOT NULL,
    PRIMARY KEY (source, host, kind, page, via, stopped)
) WITHOUT ROWID, STRICT;
