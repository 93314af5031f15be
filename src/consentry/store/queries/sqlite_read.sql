-- What SqliteStore reads. A query's name stands before it, then what it is for.

-- name: knows
-- Whether a record names an identifier; asked of everybody who comes for the first time.
SELECT 1 FROM record_node WHERE node = ? LIMIT 1;

-- name: facts_of
-- Every fact about one identifier; asked several times for each decision.
SELECT body FROM fact WHERE node = ?;

-- name: links_of
-- The other ends of an identifier's links, with the records that they are read from.
SELECT seq, other FROM link WHERE node = ?;

-- name: trusted_links_of
-- Those of them that a trusted door has said.
SELECT seq, other FROM link WHERE node = ? AND trusted_seq IS NOT NULL;

-- name: bodies
-- Every record, to be read once.
SELECT seq, body FROM record ORDER BY seq;

-- name: merges_of
-- The records that merged one account with another.
SELECT r.body FROM merge AS m JOIN record AS r ON r.seq = m.seq WHERE m.node = ? ORDER BY m.seq;

-- name: position_of
-- Where the event with this message id lies.
SELECT position FROM message WHERE key = ?;

-- name: group_at
-- The group of events that a position would lie in, if that group is still there.
SELECT first, count, events FROM event_group WHERE first <= ? ORDER BY first DESC LIMIT 1;

-- name: group_after
-- The first group that begins after a position.
SELECT first, count, events FROM event_group WHERE first > ? ORDER BY first LIMIT 1;

-- name: groups_from
-- Events that may not be in the table of message ids yet.
SELECT first, events FROM event_group WHERE first + count > ? AND first >= coalesce(
    (SELECT first FROM event_group WHERE first <= ?1 ORDER BY first DESC LIMIT 1), 0)
ORDER BY first;

-- name: end
-- One past the last event that is there.
SELECT max(first + count) FROM (SELECT first, count FROM event_group ORDER BY first DESC LIMIT 1);

-- name: position_for
-- Where a destination's worker stands.
SELECT position FROM cursor WHERE destination = ?;

-- name: placed
-- Destinations that are configured, and those that were.
SELECT destination FROM cursor ORDER BY destination;

-- name: deliveries
-- Rows of every destination, from just after one row on.
SELECT body FROM delivery
WHERE (destination, position) > (?1, ?2) AND (?3 IS NULL OR state = ?3)
ORDER BY destination, position LIMIT ?4;

-- name: deliveries_of
-- Rows of one destination, from just after one position on.
SELECT body FROM delivery
WHERE destination = ?1 AND position > ?2 ORDER BY position LIMIT ?3;

-- name: deliveries_in
-- Rows of one destination in one state, from just after one position on.
SELECT body FROM delivery
WHERE destination = ?1 AND state = ?2 AND position > ?3 ORDER BY position LIMIT ?4;

-- name: count_rows
-- How many rows of one destination are in one state.
SELECT count(*) FROM delivery WHERE destination = ? AND state = ?;

-- name: attempts_at
-- Groups that may hold attempts for a position: those that begin less than a span before it.
SELECT destination, attempts FROM attempt_group
WHERE first BETWEEN ?1 AND ?2 AND last >= ?2 ORDER BY id;

-- name: attempted_from
-- Groups of one destination that may hold attempts at or after a position.
SELECT attempts FROM attempt_group WHERE destination = ? AND last >= ? ORDER BY id;

-- name: pauses
-- Every pause now in force.
SELECT destination, reason, since FROM pause ORDER BY destination;

-- name: policy
-- One policy as canonical JSON.
SELECT canonical FROM policy WHERE policy_id = ?;

-- name: reply_to
-- The answer that was given under an idempotency key.
SELECT digest, status, body FROM reply WHERE key = ?;

-- name: notice
-- The text of a notice.
SELECT text FROM notice WHERE digest = ?;

-- name: tallies
-- What was counted from one day on.
SELECT day, what, region, version, language, times FROM tally WHERE day >= ?
ORDER BY day, what, region, version, language;

-- name: seqs_of
-- The newest records that name an identifier.
SELECT seq FROM record_node WHERE node = ? AND seq < ? ORDER BY seq DESC LIMIT ?;

-- name: record_at
-- One record by its place.
SELECT seq, body, leaf FROM record WHERE seq = ?;

-- name: record
-- One record by its id.
SELECT seq, body, leaf FROM record WHERE record_id = ?;

-- name: ledger
-- The next records in ledger order.
SELECT seq, body, leaf FROM record WHERE seq >= ? ORDER BY seq LIMIT ?;

-- name: size
-- How many records there are.
SELECT coalesce(max(seq) + 1, 0) FROM record;

-- name: newest
-- The latest reception among the last of either log: receptions are in order, but for a few.
SELECT max(
    coalesce((SELECT max(received_at) FROM
        (SELECT received_at FROM record ORDER BY seq DESC LIMIT 1000)), 0),
    coalesce((SELECT max(received_max) FROM
        (SELECT received_max FROM event_group ORDER BY first DESC LIMIT 1000)), 0));

-- name: checkpoint
-- The latest signed tree head.
SELECT note, size, root FROM checkpoint ORDER BY size DESC LIMIT 1;

-- name: suppressions
-- Identifiers on the list, up to the seq that a page ends with.
SELECT s.seq, s.node, s.since, s.record_id, r.body
FROM suppression AS s JOIN record AS r ON r.seq = s.seq
WHERE s.seq > ?1 AND s.seq <= coalesce(
    (SELECT seq FROM suppression WHERE seq > ?1 ORDER BY seq LIMIT 1 OFFSET ?2 - 1),
    9223372036854775807)
ORDER BY s.seq;

-- name: meta
-- One value that the store keeps about itself.
SELECT value FROM meta WHERE name = ?;

-- name: opt_in
-- A sign-up that waits.
SELECT body FROM opt_in WHERE opt_in_id = ?;

-- name: opt_in_for
-- The sign-up that a confirmation link is of.
SELECT opt_in_id FROM opt_in_token WHERE digest = ?;

-- name: opt_ins_ending
-- Sign-ups whose time is over.
SELECT body FROM opt_in WHERE ends_at <= ? ORDER BY ends_at, opt_in_id LIMIT ?;

-- name: mails_due
-- Mails whose time has come.
SELECT body FROM mail WHERE next_at <= ? ORDER BY next_at, mail_id LIMIT ?;

-- name: mails_waiting
-- How many mails are not settled.
SELECT count(*) FROM mail;

-- name: mails_to
-- How many mails were queued for an address lately.
SELECT count(*) FROM mail_to WHERE node = ? AND queued_at >= ?;

-- name: leaks_since
-- What was counted, and last seen at a moment or later.
SELECT source, host, kind, page, via, stopped, count, first_at, last_at FROM leak
WHERE last_at >= ? ORDER BY count DESC, source, host, kind, page, via, stopped;

-- name: order
-- One order by its id.
SELECT number, seq, body FROM orders WHERE order_id = ?;

-- name: orders_waiting
-- Open orders of one destination, from just after one on.
SELECT number, seq, body FROM orders
WHERE destination = ? AND state = 'waiting' AND number > ? ORDER BY number LIMIT ?;

-- name: orders_found
-- The newest orders, of one destination or state where one is named.
SELECT number, seq, body FROM orders
WHERE number < ?1 AND (?2 IS NULL OR destination = ?2) AND (?3 IS NULL OR state = ?3)
ORDER BY number DESC LIMIT ?4;

-- name: orders_about
-- The newest orders about one identifier.
SELECT o.number, o.seq, o.body FROM order_node AS n JOIN orders AS o ON o.number = n.number
WHERE n.node = ?5 AND n.number < ?1
  AND (?2 IS NULL OR o.destination = ?2) AND (?3 IS NULL OR o.state = ?3)
ORDER BY n.number DESC LIMIT ?4;

-- name: orders_of_record
-- What one record owes.
SELECT number, seq, body FROM orders WHERE record_id = ? ORDER BY number;

-- name: order_attempts
-- What was tried of one order.
SELECT a.attempt FROM orders AS o JOIN order_attempt AS a ON a.number = o.number
WHERE o.order_id = ? ORDER BY a.id;

-- name: orders_to_read
-- Orders whose destination is to be asked again by now.
SELECT number, seq, body FROM orders
WHERE read_at IS NOT NULL AND read_at <= ? ORDER BY read_at, number LIMIT ?;

-- name: orders_open
-- How many are open, per destination, since when, and how many were made before a moment.
SELECT destination, count(*), min(acknowledged_at), sum(acknowledged_at < ?) FROM orders
WHERE state = 'waiting' GROUP BY destination ORDER BY destination;

-- name: orders_overdue
-- Orders that are open for long, and of which too little was said.
SELECT number, seq, body FROM orders
WHERE state = 'waiting' AND escalated < ?2 AND acknowledged_at < ?1
  AND destination IN (SELECT value FROM json_each(?3))
ORDER BY acknowledged_at, number LIMIT ?4;

-- name: orders_drifting
-- Orders that a destination no longer follows.
SELECT number, seq, body FROM orders
WHERE drift = 1 AND (?1 IS NULL OR destination = ?1) ORDER BY number DESC LIMIT ?2;

-- name: erasures
-- Jobs that are not done.
SELECT record_id, seq, asked_at, erased FROM erasure ORDER BY seq;
