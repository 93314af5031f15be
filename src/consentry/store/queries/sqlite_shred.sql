-- What erasing a person changes. Elsewhere records, events and orders are only appended.

-- name: add_erasure
-- There is somebody to be erased.
INSERT INTO erasure (seq, record_id, asked_at) VALUES (?, ?, ?);

-- name: erasure
-- How far a job has come.
SELECT seq, asked_at, position, "end", reply, erased FROM erasure WHERE record_id = ?;

-- name: put_position
-- Events up to here were looked through.
UPDATE erasure SET position = ? WHERE record_id = ?;

-- name: put_end
-- No event from here on is older than the erasure.
UPDATE erasure SET "end" = ? WHERE record_id = ?;

-- name: log_end
-- One past the last event that is there.
SELECT coalesce(max(first + count), 0)
FROM (SELECT first, count FROM event_group ORDER BY first DESC LIMIT 1);

-- name: put_reply
-- Kept replies up to here were looked through.
UPDATE erasure SET reply = ? WHERE record_id = ?;

-- name: end_erasure
-- Nothing of the person is left but what is owed to others.
UPDATE erasure SET erased = 1 WHERE record_id = ?;

-- name: forget_erasure
-- The job is done.
DELETE FROM erasure WHERE record_id = ?;

-- name: records_naming
-- Records that name an identifier and were received until it was erased. ?2 is the erasure's own.
SELECT n.seq FROM record_node AS n JOIN record AS r ON r.seq = n.seq
WHERE n.node = ?1 AND n.seq <> ?2 AND (n.seq < ?2 OR r.received_at <= ?3) LIMIT ?4;

-- name: records_after
-- Records that name an identifier and were received after it was erased.
SELECT n.seq FROM record_node AS n JOIN record AS r ON r.seq = n.seq
WHERE n.node = ?1 AND n.seq > ?2 AND r.received_at > ?3;

-- name: add_link
-- Link one way; the first record that says so is kept, and the first of a trusted door.
INSERT INTO link (node, other, seq, trusted_seq) VALUES (?, ?, ?, ?)
ON CONFLICT (node, other) DO UPDATE SET trusted_seq = excluded.trusted_seq
WHERE trusted_seq IS NULL AND excluded.trusted_seq IS NOT NULL;

-- name: record
-- What a record says, with what stands beside it.
SELECT record_id, type, received_at, body FROM record WHERE seq = ?;

-- name: body_of
-- What a record says, by its id.
SELECT body FROM record WHERE record_id = ?;

-- name: put_body
-- What is left of a record.
UPDATE record SET body = ?2 WHERE seq = ?1;

-- name: drop_record_node
-- A record no longer names an identifier.
DELETE FROM record_node WHERE node = ? AND seq = ?;

-- name: drop_facts
-- A record no longer says anything of an identifier.
DELETE FROM fact WHERE node = ? AND seq = ?;

-- name: add_fact
-- What it still says of another one.
INSERT INTO fact (node, seq, n, body) VALUES (?, ?, ?, ?);

-- name: drop_merge
-- An account was merged with nobody.
DELETE FROM merge WHERE node = ? AND seq = ?;

-- name: drop_link
-- Two identifiers do not belong together.
DELETE FROM link WHERE node = ? AND other = ?;

-- name: seqs_and_facts_of
-- Every fact about an identifier with its record's place: whether it is suppressed now.
SELECT seq, body FROM fact WHERE node = ?;

-- name: unlist
-- Take an identifier off the suppression list.
DELETE FROM suppression WHERE node = ?;

-- name: list
-- Put an identifier on the suppression list.
INSERT INTO suppression (seq, node, since, record_id) VALUES (?, ?, ?, ?);

-- name: replies
-- Kept replies from just after one on.
SELECT rowid, body FROM reply WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: drop_reply
-- Forget a kept reply.
DELETE FROM reply WHERE rowid = ?;

-- name: group_from
-- The events at a position or the next ones after it. Their group may have begun before it.
SELECT first, count, events FROM event_group
WHERE first >= coalesce((SELECT max(first) FROM event_group WHERE first <= ?1), 0)
  AND first + count > ?1
ORDER BY first LIMIT 1;

-- name: put_group
-- Events of which some are blank now.
UPDATE event_group SET events = ?2 WHERE first = ?1;

-- name: drop_message
-- Forget a message id.
DELETE FROM message WHERE key = ?;

-- name: deliveries_at
-- Who has a row for an event.
SELECT destination FROM delivery WHERE position = ?;

-- name: settle
-- A delivery needs nothing more.
DELETE FROM delivery WHERE destination = ? AND position = ?;

-- name: add_attempts
-- Keep what became of it.
INSERT INTO attempt_group (destination, first, last, ended_max, attempts) VALUES (?, ?, ?, ?, ?);

-- name: orders_naming
-- Orders about an identifier, but for those that the erasure owes.
SELECT o.number, o.body FROM order_node AS n JOIN orders AS o ON o.number = n.number
WHERE n.node = ?1 AND o.record_id <> ?2;

-- name: orders_owed
-- What an erasure owes.
SELECT number, body FROM orders WHERE record_id = ?;

-- name: put_order
-- What is left of an order.
UPDATE orders SET read_at = ?2, drift = ?3, body = ?4 WHERE number = ?1;

-- name: drop_order_node
-- An order is no longer about an identifier.
DELETE FROM order_node WHERE node = ? AND number = ?;

-- name: mails
-- Every mail that is owed.
SELECT mail_id, body FROM mail;

-- name: drop_mail
-- Owe it no longer.
DELETE FROM mail WHERE mail_id = ?;

-- name: drop_mail_to
-- Forget when mails were queued for an address.
DELETE FROM mail_to WHERE node = ?;

-- name: opt_ins
-- Every sign-up that waits.
SELECT opt_in_id, body FROM opt_in;

-- name: drop_opt_in
-- A sign-up waits no longer.
DELETE FROM opt_in WHERE opt_in_id = ?;

-- name: drop_tokens
-- Its links are no longer recognised.
DELETE FROM opt_in_token WHERE opt_in_id = ?;
