-- Mails that are owed, and sign-ups that wait for a confirmation.

CREATE TABLE mail (
    mail_id TEXT PRIMARY KEY,
    next_at INTEGER NOT NULL,
    body    BLOB NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX mail_next ON mail (next_at);

-- When mails were queued for an address, settled or not: so many may an address be sent. A hash
-- of the address is enough for that.
CREATE TABLE mail_to (
    node      BLOB NOT NULL,
    queued_at INTEGER NOT NULL,
    mail_id   TEXT NOT NULL,
    PRIMARY KEY (node, queued_at, mail_id)
) WITHOUT ROWID, STRICT;

CREATE TABLE opt_in (
    opt_in_id TEXT PRIMARY KEY,
    ends_at   INTEGER NOT NULL,
    body      BLOB NOT NULL
) WITHOUT ROWID, STRICT;

CREATE INDEX opt_in_end ON opt_in (ends_at);

-- What confirmation links are recognised by. They outlive their sign-up.
CREATE TABLE opt_in_token (
    digest    BLOB PRIMARY KEY,
    opt_in_id TEXT NOT NULL,
    ends_at   INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
