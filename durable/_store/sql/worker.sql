-- :name insert_worker
-- A worker is known from here on; the byte at its id is locked before this commits.
INSERT INTO durable_worker (pid, host, started_us, state, workflows)
VALUES (:pid, :host, :started_us, 'live', :workflows)
RETURNING id

-- :name get_worker_state
-- The fence: every write transaction of a worker begins with this.
SELECT state
  FROM durable_worker
 WHERE id = :id

-- :name get_worker
-- Who a worker is: an engine that opens a path again finds its own row, or another file.
SELECT pid, started_us
  FROM durable_worker
 WHERE id = :id

-- :name end_worker
-- The worker closed in order, or was found dead.
UPDATE durable_worker
   SET state = :state, ended_us = :now_us
 WHERE id = :id AND state = 'live'
RETURNING id

-- :name list_live_workers
-- :scan allowed (a handful of rows: ended ones are deleted)
-- Workers that have not ended in order; whether they live is asked of the kernel.
SELECT id, pid, host, started_us, workflows
  FROM durable_worker
 WHERE state = 'live'
 ORDER BY id

-- :name delete_ended_workers
-- :scan allowed (a handful of rows)
-- :plan may turn (likewise)
-- Ended workers own nothing; the newest hundred are kept for `durable show`.
DELETE FROM durable_worker
 WHERE state <> 'live' AND id < :before

-- :name list_impossible_workers
-- :scan allowed (a handful of rows)
-- Rows of workers whose number was changed by hand: there is no such place in the lock file.
SELECT id
  FROM durable_worker
 WHERE id NOT BETWEEN 1 AND :most
 ORDER BY id
 LIMIT 1

-- :name delete_impossible_workers
-- :scan allowed (a handful of rows)
-- They own nothing that anybody could hold.
DELETE FROM durable_worker
 WHERE id NOT BETWEEN 1 AND :most

-- :name find_impossible_sequence
-- :scan allowed (five rows)
-- Whether the next worker would get a number that there is no place for.
SELECT seq
  FROM sqlite_sequence
 WHERE name = 'durable_worker'
   AND seq NOT BETWEEN 0 AND :most

-- :name reset_worker_sequence
-- :scan allowed (five rows)
-- :plan may turn (over a handful of rows)
-- Numbers go on from the newest that is there.
UPDATE sqlite_sequence
   SET seq = (SELECT COALESCE(MAX(id), 0) FROM durable_worker WHERE id <= :most)
 WHERE name = 'durable_worker'
