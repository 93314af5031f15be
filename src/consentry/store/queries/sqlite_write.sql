-- What the writer of SqliteStore runs, inside its transaction.

-- name: begin
-- Take the write lock at once; there is no other writer to wait for.
BEGIN IMMEDIATE;

-- name: commit
-- Make the group durable.
COMMIT;

-- name: rollback
-- Nothing of the group was written.
ROLLBACK;

-- name: has_record
-- Whether a record id is taken.
SELECT 1 FROM record WHERE record_id = ?;

-- name: has_reply
-- Whether an idempotency key is taken.
SELECT 1 FROM reply WHERE key = ?;

-- name: add_record
-- Append to the ledger.
INSERT INTO record (seq, record_id, type, received_at, leaf, body) VALUES (?, ?, ?, ?, ?, ?);

-- name: add_record_node
-- Find the record by an identifier that it names.
INSERT INTO record_node (node, seq) VALUES (?, ?);

-- name: add_fact
-- Find a fact by its identifier.
INSERT INTO fact (node, seq, n, body) VALUES (?, ?, ?, ?);

-- name: add_link
-- Link one way; the first record that says so is kept, and the first of a trusted door.
INSERT INTO link (node, other, seq, trusted_seq) VALUES (?, ?, ?, ?)
ON CONFLICT (node, other) DO UPDATE SET trusted_seq = excluded.trusted_seq
WHERE trusted_seq IS NULL AND excluded.trusted_seq IS NOT NULL;

-- name: trust_link
-- The first record of a trusted door that says a link.
UPDATE link SET trusted_seq = ?1 WHERE node = ?2 AND other = ?3 AND trusted_seq IS NULL;

-- name: add_merge
-- Find a merge by one of its accounts.
INSERT OR IGNORE INTO merge (node, seq) VALUES (?, ?);

-- name: seqs_and_facts_of
-- Every fact about an identifier with its record's place: whether it is suppressed now.
SELECT seq, body FROM fact WHERE node = ?;

-- name: unlist
-- Take an identifier off the suppression list.
DELETE FROM suppression WHERE node = ?;

-- name: list
-- Put an identifier on the suppression list.
INSERT INTO suppression (seq, node, since, record_id) VALUES (?, ?, ?, ?);

-- name: add_checkpoint
-- Keep a signed tree head.
INSERT INTO checkpoint (size, root, note) VALUES (?, ?, ?);

-- name: put_meta
-- Keep one value about the store itself.
INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?);

-- name: drop_meta
-- Keep it no longer.
DELETE FROM meta WHERE name = ?;

-- name: raise_meta
-- Keep the larger of two values.
INSERT INTO meta (name, value) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);

-- name: add_tally
-- So many more of something on one day.
INSERT INTO tally (day, what, region, version, language, times) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (day, what, region, version, language) DO UPDATE SET times = times + excluded.times;

-- name: add_notice
-- Keep the text of a notice; the same digest is the same text.
INSERT OR IGNORE INTO notice (digest, text) VALUES (?, ?);

-- name: add_reply
-- Keep an answer under its idempotency key.
INSERT INTO reply (key, digest, status, body) VALUES (?, ?, ?, ?);

-- name: known_messages
-- Which of these message ids are in the table.
SELECT m.key FROM carray(?) AS asked CROSS JOIN message AS m ON m.key = asked.value;

-- name: add_message
-- Remember a message id; after a crash some are written again.
INSERT OR IGNORE INTO message (key, position) VALUES (?, ?);

-- name: add_group
-- Append events to the log.
INSERT INTO event_group (first, count, received_max, events) VALUES (?, ?, ?, ?);

-- name: put_cursor
-- Where a destination's worker stands now.
INSERT OR REPLACE INTO cursor (destination, position) VALUES (?, ?);

-- name: forget_cursor
-- A destination was given up.
DELETE FROM cursor WHERE destination = ?;

-- name: settle
-- A delivery needs nothing more.
DELETE FROM delivery WHERE destination = ? AND position = ?;

-- name: put_delivery
-- A delivery is retried, held back or dead.
INSERT OR REPLACE INTO delivery (destination, position, state, last_at, body) VALUES (?, ?, ?, ?, ?);

-- name: add_attempts
-- Keep what was tried.
INSERT INTO attempt_group (destination, first, last, ended_max, attempts) VALUES (?, ?, ?, ?, ?);

-- name: put_pause
-- Stop a destination.
INSERT OR REPLACE INTO pause (destination, reason, since) VALUES (?, ?, ?);

-- name: end_pause
-- Let a destination go on.
DELETE FROM pause WHERE destination = ?;

-- name: policy_id
-- The number of a policy.
SELECT policy_id FROM policy WHERE version = ?;

-- name: add_policy
-- Number a policy.
INSERT INTO policy (version, canonical) VALUES (?, ?) RETURNING policy_id;

-- name: try_room
-- See whether the disk takes a write again.
INSERT OR REPLACE INTO meta (name, value) VALUES ('room', zeroblob(262144));

-- name: give_room_back
-- Undo it.
DELETE FROM meta WHERE name = 'room';

-- name: prune_dead
-- Forget dead deliveries that nobody looked at.
DELETE FROM delivery WHERE state = 'dead' AND last_at < ?;

-- name: prune_attempts
-- Forget old attempts, but none that a restart needs. A part at a time, and only up to the
-- first row that is not old: looking at all others would keep writers waiting.
DELETE FROM attempt_group WHERE id IN (
    SELECT a.id FROM attempt_group AS a LEFT JOIN cursor AS c ON c.destination = a.destination
    WHERE a.id < coalesce(
        (SELECT id FROM attempt_group WHERE ended_max >= ?1 ORDER BY id LIMIT 1),
        9223372036854775807)
    AND a.last < coalesce(c.position, 0) LIMIT ?2);

-- name: prunable
-- Groups of events that are old, behind every worker, and without rows. A part at a time, and
-- only up to the first group that is not old. ?3 are the destinations that count, as JSON.
SELECT g.first, g.count, g.received_max, g.events FROM event_group AS g
WHERE g.first < coalesce(
    (SELECT first FROM event_group WHERE received_max >= ?1 ORDER BY first LIMIT 1),
    9223372036854775807)
  AND g.first + g.count <= coalesce((SELECT min(position) FROM cursor
    WHERE ?3 IS NULL OR destination IN (SELECT value FROM json_each(?3))), 9223372036854775807)
  AND NOT EXISTS (
    SELECT 1 FROM delivery AS d WHERE d.position >= g.first AND d.position < g.first + g.count
    AND (?3 IS NULL OR d.destination IN (SELECT value FROM json_each(?3))))
ORDER BY g.first LIMIT ?2;

-- name: drop_group
-- Forget a group of events.
DELETE FROM event_group WHERE first = ?;

-- name: drop_rows
-- Forget deliveries whose events go: they are of destinations that are no longer served.
DELETE FROM delivery WHERE position >= ? AND position < ?;

-- name: drop_message
-- Forget a message id.
DELETE FROM message WHERE key = ?;

-- name: add_mail
-- Owe a mail.
INSERT INTO mail (mail_id, next_at, body) VALUES (?, ?, ?);

-- name: add_mail_to
-- Count it for its address.
INSERT INTO mail_to (node, queued_at, mail_id) VALUES (?, ?, ?);

-- name: change_mail
-- A mail was tried; one that is settled stays so.
UPDATE mail SET next_at = ?2, body = ?3 WHERE mail_id = ?1;

-- name: settle_mail
-- A mail needs nothing more.
DELETE FROM mail WHERE mail_id = ?;

-- name: add_opt_in
-- A sign-up waits for its confirmation.
INSERT INTO opt_in (opt_in_id, ends_at, body) VALUES (?, ?, ?);

-- name: end_opt_in
-- A sign-up waits no longer.
DELETE FROM opt_in WHERE opt_in_id = ?;

-- name: add_token
-- Recognise a confirmation link.
INSERT OR IGNORE INTO opt_in_token (digest, opt_in_id, ends_at) VALUES (?, ?, ?);

-- name: forget_mails
-- Forget when mails were queued.
DELETE FROM mail_to WHERE queued_at < ?;

-- name: forget_tokens
-- Forget links of sign-ups that are long over.
DELETE FROM opt_in_token WHERE ends_at < ?;

-- name: has_leak
-- Whether this leak has a row.
SELECT 1 FROM leak
WHERE source = ? AND host = ? AND kind = ? AND page = ? AND via = ? AND stopped = ?;

-- name: leak_rows
-- How many rows there are, and how many of a source and host.
SELECT (SELECT count(*) FROM leak), (SELECT count(*) FROM leak WHERE source = ? AND host = ?);

-- name: count_leak
-- Add to a count.
INSERT INTO leak (source, host, kind, page, via, stopped, count, first_at, last_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    count = min(count + excluded.count, 4611686018427387904),
    last_at = max(last_at, excluded.last_at);

-- name: forget_leaks
-- Forget what was not seen for long.
DELETE FROM leak WHERE last_at < ?;

-- name: add_order
-- Owe an order. Its number follows all that were given.
INSERT INTO orders (order_id, record_id, seq, destination, state, acknowledged_at, escalated,
    read_at, drift, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number;

-- name: add_order_node
-- Find the order by somebody it is about.
INSERT INTO order_node (node, number) VALUES (?, ?);

-- name: order_found_by
-- Which of these identifiers an order is still found by: an erasure may have taken some.
SELECT node FROM order_node
WHERE number = (SELECT number FROM orders WHERE order_id = ?1) AND node IN carray(?2);

-- name: change_order
-- Where an order stands now.
UPDATE orders SET state = ?2, escalated = ?3, read_at = ?4, drift = ?5, body = ?6
WHERE order_id = ?1;

-- name: add_order_attempt
-- What was tried.
INSERT INTO order_attempt (number, attempt) SELECT number, ?2 FROM orders WHERE order_id = ?1;

-- name: oldest_order_attempts
-- What was tried first.
SELECT id, attempt FROM order_attempt ORDER BY id LIMIT ?;

-- name: prune_order_attempts
-- Forget what was tried up to here.
DELETE FROM order_attempt WHERE id <= ?;

-- name: look_at_replies_again
-- Erasures that are not done look through kept replies from the first on.
UPDATE erasure SET reply = 0;
