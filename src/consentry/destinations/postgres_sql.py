"""The SQL of the PostgreSQL destination: tables, view and the two statements it runs.

`events` holds each event once. `consent_current` holds, per subject and category, the
latest denial and the latest grant ever delivered; its state follows from the two, so it
does not depend on the order of delivery and a repetition changes nothing. As everywhere in
this program a denial counts from when it was received, and a grant only if it was made
after that. `seq` is the place in the ledger of the latest order that wrote a row (see
`postgres_orders`).

`events_consented` is what analysts should be given: it joins the two at the moment of the
query, so a row is gone from it as soon as the withdrawal arrives, before anything is
deleted. The view reads with its owner's rights; grant SELECT on it alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

EVENT_COLUMNS = {  # name: type of the parameter, an array of which is sent
    "message_id": "text",
    "type": "text",
    "event": "text",
    "anonymous_id": "text",
    "user_id": "text",
    "timestamp": "timestamptz",
    "received_at": "timestamptz",
    "properties": "jsonb",
    "traits": "jsonb",
    "context": "jsonb",
    "body": "jsonb",
    "consent": "jsonb",
}
CHANGE_COLUMNS = {
    "subject_kind": "text",
    "subject": "text",
    "category": "text",
    "denied_at": "timestamptz",
    "granted_at": "timestamptz",
}

_TABLES = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.events (
  message_id text PRIMARY KEY,
  type text NOT NULL,
  event text,
  anonymous_id text,
  user_id text,
  "timestamp" timestamptz NOT NULL,
  received_at timestamptz NOT NULL,
  properties jsonb,
  traits jsonb,
  context jsonb,
  body jsonb NOT NULL,
  consent jsonb NOT NULL
);
CREATE INDEX IF NOT EXISTS events_received_at ON {schema}.events (received_at);
CREATE INDEX IF NOT EXISTS events_anonymous_id ON {schema}.events (anonymous_id);
CREATE INDEX IF NOT EXISTS events_user_id ON {schema}.events (user_id);
CREATE TABLE IF NOT EXISTS {schema}.consent_current (
  subject_kind text NOT NULL CHECK (subject_kind IN ('anonymous', 'user')),
  subject text NOT NULL,
  category text NOT NULL,
  denied_at timestamptz,
  granted_at timestamptz,
  state text NOT NULL GENERATED ALWAYS AS (
    CASE WHEN granted_at IS NOT NULL AND (denied_at IS NULL OR granted_at > denied_at)
      THEN 'granted' ELSE 'denied' END
  ) STORED,
  updated_at timestamptz GENERATED ALWAYS AS (GREATEST(denied_at, granted_at)) STORED,
  PRIMARY KEY (subject_kind, subject, category)
);
ALTER TABLE {schema}.consent_current ADD COLUMN IF NOT EXISTS seq bigint;
"""

_VIEW = """
CREATE OR REPLACE VIEW {schema}.events_consented AS
SELECT e.* FROM {schema}.events e
WHERE NOT EXISTS (
  SELECT FROM {schema}.consent_current c
  WHERE c.subject_kind = 'anonymous' AND c.subject = e.anonymous_id
    AND c.state = 'denied'{needed}
) AND NOT EXISTS (
  SELECT FROM {schema}.consent_current c
  WHERE c.subject_kind = 'user' AND c.subject = e.user_id
    AND c.state = 'denied'{needed}
);
"""


def set_up(schema: str, needs: Sequence[str]) -> str:
    """The statements that make the schema what it should be; they may be run again.

    ``schema`` is a checked identifier, ``needs`` are category ids without a quote or a
    backslash. With no needs every denied category hides a row: what is not known to be
    harmless is not shown. The last statement notes on the view which form was made.
    """
    listed = ", ".join(f"'{category}'" for category in sorted(set(needs)))
    needed = f"\n    AND c.category = ANY (ARRAY[{listed}]::text[])" if needs else ""
    made = _TABLES.format(schema=schema) + _VIEW.format(schema=schema, needed=needed)
    return f"{made}COMMENT ON VIEW {schema}.events_consented IS '{_form(made)}';\n"


def form_of(set_up_sql: str) -> str:
    """The note that ``set_up_sql`` leaves on the view."""
    return set_up_sql.rsplit("'", 2)[1]


def _form(made: str) -> str:
    return f"consentry {hashlib.sha256(made.encode()).hexdigest()[:16]}"


# One at a time: two programs that start together must not both create.
LOCK_SET_UP = "SELECT pg_advisory_xact_lock(hashtextextended('consentry ' || $1, 0))"
# By rows and not by ``to_regclass``: that remembers, for the length of a transaction, that the view
# was missing before the lock was waited for, and what was made meanwhile would be made once more.
FORM_NOW = """
SELECT obj_description(view.oid, 'pg_class') FROM pg_catalog.pg_class AS view
JOIN pg_catalog.pg_namespace AS schema ON schema.oid = view.relnamespace
WHERE schema.nspname = $1 AND view.relname = 'events_consented'
"""


def _unnested(columns: dict[str, str], first: int) -> str:
    """``unnest($1::text[], …) AS incoming (…)``. JSON comes as text and is cast on insert."""
    sent = ("text" if kind == "jsonb" else kind for kind in columns.values())
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(sent, first))
    return f"unnest({arrays}) AS incoming ({_names(columns)})"


def _names(columns: dict[str, str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


def write(schema: str) -> str:
    """Insert events and fold changes of consent, in one statement and so one transaction.

    Parameters: an array per event column, then an array per change column. Both inserts
    are ordered, so that two programs take their row locks in the same order.
    """
    values = ", ".join(
        f'"{name}"::jsonb' if kind == "jsonb" else f'"{name}"'
        for name, kind in EVENT_COLUMNS.items()
    )
    changes_from = len(EVENT_COLUMNS) + 1
    return f"""
WITH written AS (
  INSERT INTO {schema}.events ({_names(EVENT_COLUMNS)})
  SELECT {values} FROM {_unnested(EVENT_COLUMNS, 1)}
  ORDER BY message_id
  ON CONFLICT DO NOTHING
)
INSERT INTO {schema}.consent_current AS known ({_names(CHANGE_COLUMNS)})
SELECT subject_kind, subject, category, max(denied_at), max(granted_at)
FROM {_unnested(CHANGE_COLUMNS, changes_from)}
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
ON CONFLICT (subject_kind, subject, category) DO UPDATE SET
  denied_at = GREATEST(known.denied_at, excluded.denied_at),
  granted_at = GREATEST(known.granted_at, excluded.granted_at)
"""  # noqa: S608 - the schema is a checked identifier, the rest is ours


def read_back(schema: str) -> str:
    """Which of the message ids in ``$1`` the table holds."""
    return f"SELECT message_id FROM {schema}.events WHERE message_id = ANY ($1::text[])"  # noqa: S608
