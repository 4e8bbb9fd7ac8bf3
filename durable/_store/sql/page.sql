-- :name list_step_events
-- A page of a history without its payloads: their beginnings, and whole what tells why something
-- failed (kinds 2, 4, 9, 11 and 13), if it is not in a blob. Texts as bytes: any may be damaged.
SELECT seq, kind, CAST(step AS BLOB), CAST(name AS BLOB), fingerprint,
       CASE typeof(arguments) WHEN 'text' THEN CAST(substr(arguments, 1, 200) AS BLOB) ELSE x'' END,
       CASE WHEN kind IN (2, 4, 9, 11, 13) AND typeof(result) = 'text' THEN CAST(result AS BLOB)
            ELSE x'' END,
       at_us, took_us
  FROM durable_event
 WHERE run = :run AND seq > :after
 ORDER BY seq
 LIMIT :limit

-- :name list_message_events
-- Events that brought a run signals, updates and answers, along their index; texts as bytes.
SELECT seq, kind, CAST(step AS BLOB), CAST(name AS BLOB), fingerprint,
       CASE typeof(arguments) WHEN 'text' THEN CAST(arguments AS BLOB) ELSE x'' END,
       CASE typeof(result) WHEN 'text' THEN CAST(result AS BLOB) ELSE x'' END,
       at_us, took_us
  FROM durable_event INDEXED BY durable_event_message
 WHERE run = :run AND kind IN (6, 7, 12, 13)
 ORDER BY step
 LIMIT :limit

-- :name get_last_seq
-- The number of the last event of a run; there are no gaps.
SELECT COALESCE(MAX(seq), 0)
  FROM durable_event
 WHERE run = :run

-- :name count_attempts
-- How many attempts of each step failed, and when the first began.
SELECT step, COUNT(*), MIN(started_us)
  FROM durable_attempt
 WHERE run = :run
 GROUP BY step

-- :name list_attempt_times
-- When the failed attempts of a run ran, step by step.
SELECT step, attempt, state, started_us, ended_us
  FROM durable_attempt
 WHERE run = :run
 ORDER BY step, attempt
 LIMIT :limit

-- :name list_attempts_of_step
-- The failed attempts of one step, the newest first.
SELECT step, attempt, name, state, started_us, ended_us, error
  FROM durable_attempt
 WHERE run = :run AND step = :step
 ORDER BY attempt DESC
 LIMIT :limit

-- :name count_runs_of_workers
-- How many runs each worker has in hand.
SELECT worker_id, COUNT(*)
  FROM durable_run INDEXED BY durable_run_owned
 WHERE worker_id IS NOT NULL
 GROUP BY worker_id
 ORDER BY worker_id

-- :name list_queues
-- The queues of runs that could go on now: how many wait for a worker, and how many have one.
SELECT queue, SUM(worker_id IS NULL), SUM(worker_id IS NOT NULL)
  FROM durable_run INDEXED BY durable_run_state
 WHERE state = 'ready'
 GROUP BY queue
 ORDER BY queue
 LIMIT :limit
