-- Which links a trusted door has said: the first such record. Other systems hear of no others.
-- Rows that are there already are filled in by sqlite_open, which can read records.

ALTER TABLE link ADD COLUMN trusted_seq INTEGER;
