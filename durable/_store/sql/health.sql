-- :name list_audit_of_file
-- What was written down of the file as a whole, newest first.
SELECT why, at_us
  FROM durable_audit INDEXED BY durable_audit_run
 WHERE run IS NULL AND verb = :verb
 ORDER BY id DESC
 LIMIT :limit

-- :name list_runs_of_unknown_workers
-- Runs in the hands of a worker that is not there, by any row.
SELECT run.id, run.ordinal, 'is in the hands of worker ' || run.worker_id || ', which is none'
  FROM durable_run AS run INDEXED BY durable_run_owned
 WHERE run.worker_id IS NOT NULL
   AND NOT EXISTS (SELECT 1 FROM durable_worker AS worker
                    WHERE worker.id = run.worker_id AND worker.state = 'live')
 ORDER BY run.worker_id
 LIMIT :limit

-- :name free_runs_of_unknown_workers
-- :scan allowed (of workers a handful of rows; their runs by the index)
-- They are free: nobody can hold the byte of a worker that is not there.
UPDATE durable_run
   SET worker_id = NULL
 WHERE worker_id IS NOT NULL
   AND worker_id NOT IN (SELECT id FROM durable_worker WHERE state = 'live')

-- :name list_gaps
-- :plan may turn (from one walk over all runs or events to another)
-- :scan allowed (asked by hand; the index of all events)
-- Runs whose events are not numbered from 1 without a gap.
SELECT run.id, run.ordinal, 'lacks events: it has ' || found.events || ', up to ' || found.last
  FROM (SELECT run, COUNT(*) AS events, MAX(seq) AS last
          FROM durable_event
         GROUP BY run
        HAVING COUNT(*) <> MAX(seq)) AS found
  JOIN durable_run AS run ON run.pk = found.run
 ORDER BY run.pk
 LIMIT :limit

-- :name list_wrong_json
-- :scan allowed (asked by hand)
-- Runs with a column that is no JSON.
SELECT id, ordinal, 'holds no JSON where it has to'
  FROM durable_run
 WHERE (waits IS NOT NULL AND NOT json_valid(waits))
    OR (labels IS NOT NULL AND NOT json_valid(labels))
    OR (headers IS NOT NULL AND NOT json_valid(headers))
 ORDER BY pk
 LIMIT :limit

-- :name list_circles
-- :plan may turn (to another index that is walked whole)
-- :scan allowed (asked by hand; a parent is older than its child, but for one that began anew)
-- Runs that are above themselves in their family.
WITH RECURSIVE above(run, at, depth) AS (
  SELECT pk, parent_pk, 1 FROM durable_run WHERE parent_pk >= pk
   UNION ALL
  SELECT above.run, run.parent_pk, above.depth + 1
    FROM above JOIN durable_run AS run ON run.pk = above.at
   WHERE run.parent_pk IS NOT NULL AND above.at <> above.run AND above.depth < 10000
)
SELECT DISTINCT run.id, run.ordinal, 'is a child of itself'
  FROM above JOIN durable_run AS run ON run.pk = above.run
 WHERE above.at = above.run
 ORDER BY run.id, run.ordinal
 LIMIT :limit

-- :name list_times_to_come
-- :scan allowed (asked by hand)
-- Runs that were made, began or ended in the future.
SELECT id, ordinal, 'was made, begun or closed in the future'
  FROM durable_run
 WHERE MAX(created_us, COALESCE(started_us, 0), COALESCE(closed_us, 0)) > :now_us + 86400000000
 ORDER BY pk
 LIMIT :limit

-- :name list_miscounted_blobs
-- :plan may turn (from one walk over all payloads to another)
-- :scan allowed (asked by hand: every payload column is looked at)
-- Large payloads with another number of references than rows that name them.
WITH used(id) AS (
  SELECT arguments FROM durable_run WHERE typeof(arguments) = 'integer'
   UNION ALL SELECT result FROM durable_run WHERE typeof(result) = 'integer'
   UNION ALL SELECT arguments FROM durable_event WHERE typeof(arguments) = 'integer'
   UNION ALL SELECT result FROM durable_event WHERE typeof(result) = 'integer'
   UNION ALL SELECT payload FROM durable_inbox WHERE typeof(payload) = 'integer'
   UNION ALL SELECT result FROM durable_answer WHERE typeof(result) = 'integer'
   UNION ALL SELECT payload FROM durable_letter WHERE typeof(payload) = 'integer'
   UNION ALL SELECT payload FROM durable_value WHERE typeof(payload) = 'integer'
   UNION ALL SELECT payload FROM durable_item WHERE typeof(payload) = 'integer'
), counted AS (
  SELECT id, COUNT(*) AS refs FROM used GROUP BY id
)
SELECT COALESCE(blob.id, counted.id)
  FROM durable_blob AS blob FULL JOIN counted ON counted.id = blob.id
 WHERE COALESCE(blob.refs, 0) <> COALESCE(counted.refs, 0)
 ORDER BY 1
 LIMIT :limit

-- :name find_used_up
-- :scan allowed (five rows; asked when SQLite says that it is full)
-- Tables whose numbers have come to their end: SQLite gives no more, and calls that a full disk. By hand
-- alone: a billion rows a second would take three centuries.
SELECT name
  FROM (SELECT name, seq FROM sqlite_sequence
         UNION ALL
        SELECT 'durable_worker', MAX(id) FROM durable_worker
         UNION ALL
        SELECT 'durable_inbox', MAX(id) FROM durable_inbox
         UNION ALL
        SELECT 'durable_alert', MAX(id) FROM durable_alert
         UNION ALL
        SELECT 'durable_job', MAX(id) FROM durable_job
         UNION ALL
        SELECT 'durable_audit', MAX(id) FROM durable_audit) AS counted
 WHERE seq >= 9223372036854775807
   AND name GLOB 'durable_*'
 ORDER BY name
 LIMIT 1

-- :name list_payloads_of_runs
-- :plan may turn (from one walk over all rows to another)
-- :scan allowed (asked by hand)
-- Arguments and results with their checksums, page by page.
SELECT pk, id, ordinal, arguments, checksum, result, result_checksum
  FROM durable_run
 WHERE pk > :after
 ORDER BY pk
 LIMIT :limit

-- :name list_payloads_of_values
-- What a run has published, with the checksums.
SELECT name, payload, checksum
  FROM durable_value
 WHERE run = :run
 ORDER BY name

-- :name list_payloads_of_items
-- What a run and its activities have appended to streams, with the checksums.
SELECT stream, position, payload, checksum
  FROM durable_item
 WHERE run = :run
 ORDER BY stream, position

-- :name list_blobs
-- :plan may turn (from one walk over all rows to another)
-- :scan allowed (asked by hand)
-- Large payloads, page by page.
SELECT id, size, data
  FROM durable_blob
 WHERE id > :after
 ORDER BY id
 LIMIT :limit
