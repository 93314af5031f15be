-- How often something happened on a day: notices shown and answered. Nothing here is about anybody.

CREATE TABLE tally (
    day      TEXT NOT NULL, -- YYYY-MM-DD, UTC
    what     TEXT NOT NULL,
    region   TEXT NOT NULL,
    version  TEXT NOT NULL, -- of the notice
    language TEXT NOT NULL,
    times    INTEGER NOT NULL,
    PRIMARY KEY (day, what, region, version, language)
) WITHOUT ROWID, STRICT;
