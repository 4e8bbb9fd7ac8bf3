-- :name upsert_answer
-- :rows
-- :order 160
-- An update or query ended.
INSERT INTO durable_answer (run, key, name, state, result, at_us)
VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, key) DO UPDATE
   SET state = excluded.state, result = excluded.result, at_us = excluded.at_us

-- :name find_answer
-- How an update or query ended, in the newest of the ordinals that go on from each other.
SELECT (SELECT state FROM durable_answer AS one WHERE one.run = run.pk AND one.key = :key),
       (SELECT name FROM durable_answer AS one WHERE one.run = run.pk AND one.key = :key),
       (SELECT result FROM durable_answer AS one WHERE one.run = run.pk AND one.key = :key)
  FROM durable_run AS run INDEXED BY sqlite_autoindex_durable_run_1
 WHERE run.id = :id AND run.ordinal BETWEEN :first AND :last
   AND (SELECT 1 FROM durable_answer AS one WHERE one.run = run.pk AND one.key = :key) = 1
 ORDER BY run.ordinal DESC
 LIMIT 1

-- :name list_answers
-- How the updates of one run ended; the answers to its queries, until they are read, too.
SELECT key, name, state, result, at_us
  FROM durable_answer
 WHERE run = :run
 ORDER BY key
 LIMIT :limit

-- :name delete_answer
-- Whoever asked has read it.
DELETE FROM durable_answer
 WHERE run = :run AND key = :key
RETURNING result

-- :name insert_letter
-- :rows
-- :order 130
-- A signal that does not decode: kept, and no hindrance.
INSERT INTO durable_letter (run, seq, name, key, payload, why, at_us)
VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING

-- :name list_letters
-- A run's dead letters.
SELECT seq, name, payload, why, at_us
  FROM durable_letter
 WHERE run = :run
 ORDER BY id
 LIMIT :limit

-- :name upsert_value
-- :rows
-- :order 110
-- A value was published.
INSERT INTO durable_value (run, name, payload, checksum, at_us)
VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run, name) DO UPDATE
   SET payload = excluded.payload, checksum = excluded.checksum, at_us = excluded.at_us

-- :name delete_blobs_of_values
-- :each (run, name)
-- Values are about to be replaced; what large ones held is used by nobody else.
DELETE FROM durable_blob
 WHERE refs = 1
   AND id = (SELECT payload
               FROM durable_value
              WHERE run = NEW.run AND name = NEW.name AND typeof(payload) = 'integer')

-- :name unshare_blobs_of_values
-- :each (run, name)
-- Values are about to be replaced; another ordinal's still use what large ones held.
UPDATE durable_blob
   SET refs = refs - 1
 WHERE refs > 1
   AND id = (SELECT payload
               FROM durable_value
              WHERE run = NEW.run AND name = NEW.name AND typeof(payload) = 'integer')

-- :name find_value
-- A published value.
SELECT payload, checksum, at_us
  FROM durable_value
 WHERE run = :run AND name = :name

-- :name list_values
-- All that a run has published.
SELECT name, payload, checksum, at_us
  FROM durable_value
 WHERE run = :run
 ORDER BY name

-- :name copy_values
-- A new ordinal begins with what the last one published.
INSERT INTO durable_value (run, name, payload, checksum, at_us)
SELECT :to, name, payload, checksum, at_us
  FROM durable_value
 WHERE run = :run

-- :name insert_item
-- :rows
-- :order 120
-- Items of streams. Of a start that is made again after a crash, they are there already.
INSERT INTO durable_item (run, stream, position, step, attempt, number, seq, payload, checksum, at_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, stream, position) DO NOTHING

-- :name find_last_position
-- Where a stream ends.
SELECT position
  FROM durable_item
 WHERE run = :run AND stream = :stream AND seq < :before
 ORDER BY position DESC
 LIMIT 1

-- :name list_items
-- A page of a stream, in order.
SELECT position, step, attempt, number, payload, checksum, at_us
  FROM durable_item
 WHERE run = :run AND stream = :stream AND position >= :from_position
 ORDER BY position
 LIMIT :limit

-- :name list_streams
-- The streams of a run, and how many items they have.
SELECT stream, COUNT(*)
  FROM durable_item
 WHERE run = :run
 GROUP BY stream
 ORDER BY stream

-- :name copy_items
-- A new ordinal begins with what was appended before the drain that it does anew.
INSERT INTO durable_item (run, stream, position, step, attempt, number, seq, payload, checksum, at_us)
SELECT :to, stream, position, step, attempt, number, seq, payload, checksum, at_us
  FROM durable_item
 WHERE run = :run AND seq < :redo_seq

-- :name delete_items_from
-- A run went back to a place in its history: what is appended from there on is appended anew.
DELETE FROM durable_item
 WHERE run = :run AND seq >= :redo_seq
