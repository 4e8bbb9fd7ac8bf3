-- :name insert_event
-- :rows
-- :order 20
-- Recorded facts. A second row of one place in a history is a bug, and an error.
INSERT INTO durable_event (run, seq, kind, step, name, fingerprint, arguments, result, checksum, at_us,
                   took_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :name list_events
-- A page of a history, in order.
SELECT seq, kind, step, name, fingerprint, arguments, result, checksum, at_us, took_us
  FROM durable_event
 WHERE run = :run AND seq > :after
 ORDER BY seq
 LIMIT :limit

-- :name list_events_as_found
-- A page of a history, for people: texts as bytes, for one that is not UTF-8 would end the listing.
SELECT seq, kind, CAST(step AS BLOB), CAST(name AS BLOB), fingerprint,
       CASE typeof(arguments) WHEN 'text' THEN CAST(arguments AS BLOB)
                              WHEN 'blob' THEN NULL ELSE arguments END,
       CASE typeof(result) WHEN 'text' THEN CAST(result AS BLOB)
                           WHEN 'blob' THEN NULL ELSE result END,
       checksum, at_us, took_us
  FROM durable_event
 WHERE run = :run AND seq > :after
 ORDER BY seq
 LIMIT :limit

-- :name count_received
-- How many signals of each name came up to an event; names as bytes, as above.
SELECT CAST(name AS BLOB), COUNT(*)
  FROM durable_event
 WHERE run = :run AND seq <= :until AND kind = 6
 GROUP BY 1

-- :name list_patches
-- The patches a history went through; they are known before its replay begins.
SELECT name
  FROM durable_event
 WHERE run = :run AND kind = 5
 ORDER BY seq

-- :name find_completed_after
-- Steps that completed at or after a place in a history.
SELECT step, name
  FROM durable_event
 WHERE run = :run AND seq > :after AND kind = 1
 ORDER BY seq

-- :name find_end_of_step
-- :scan allowed (one run's history, when a person answers a token)
-- Whether a step has ended, or its answer waits to be taken.
SELECT seq
  FROM durable_event
 WHERE run = :run AND step = :step AND kind IN (1, 2, 12, 13)
 UNION ALL
SELECT id
  FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = :run AND key = :step AND kind IN ('resolve', 'reject')

-- :name copy_events
-- A new ordinal keeps what was recorded before the failure's origin.
INSERT INTO durable_event (run, seq, kind, step, name, fingerprint, arguments, result, checksum, at_us,
                   took_us)
SELECT :to, seq, kind, step, name, fingerprint, arguments, result, checksum, at_us, took_us
  FROM durable_event
 WHERE run = :run AND seq < :before

-- :name share_blobs_of_events
-- :scan allowed (the inner list is one run's history)
-- Copied rows share their blobs with the originals.
INSERT INTO temp.durable_share_blobs (id, uses)
SELECT payload, COUNT(*)
  FROM (SELECT arguments AS payload FROM durable_event
         WHERE run = :run AND seq < :before AND typeof(arguments) = 'integer'
        UNION ALL
        SELECT result FROM durable_event
         WHERE run = :run AND seq < :before AND typeof(result) = 'integer')
 GROUP BY payload

-- :name share_blobs
-- :each (id, uses)
-- So many more rows use blobs.
UPDATE durable_blob
   SET refs = refs + NEW.uses
 WHERE id = NEW.id

-- :name share_blob
-- One more row uses a blob.
UPDATE durable_blob
   SET refs = refs + 1
 WHERE id = :id

-- :name delete_events_from
-- A paused run is retried from the failure's origin: what it recorded from there on is dropped.
DELETE FROM durable_event
 WHERE run = :run AND seq >= :from_seq

-- :name insert_blob
-- :rows
-- :order 10
-- A payload over 32 KiB.
INSERT INTO durable_blob (id, refs, size, data)
VALUES (?, ?, ?, ?)

-- :name get_blob
-- One large payload.
SELECT size, data
  FROM durable_blob
 WHERE id = :id

-- :name delete_blobs_of_inbox
-- :each (id)
-- :order 230
-- Large messages became events, which have blobs of their own; nobody else uses these.
DELETE FROM durable_blob
 WHERE id = NEW.id AND refs = 1

-- :name unshare_blobs_of_inbox
-- :each (id)
-- :order 240
-- Large messages that were sent again became events; the first one's row still uses the blob.
UPDATE durable_blob
   SET refs = refs - 1
 WHERE id = NEW.id AND refs > 1

-- :name share_blobs_of_inbox
-- Messages that were sent again share their blobs with the first ones.
INSERT INTO temp.durable_share_blobs (id, uses)
SELECT payload, COUNT(*)
  FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = :run AND typeof(payload) = 'integer'
 GROUP BY payload
