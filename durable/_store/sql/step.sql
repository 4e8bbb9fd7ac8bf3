-- :name upsert_step
-- :rows
-- :order 60
-- A pending step begins to have something to remember.
INSERT INTO durable_step (run, step, name, state, attempt, scheduled_us, started_us, retry_at_us,
                  fingerprint, arguments, details, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, step) DO UPDATE
   SET name = excluded.name, state = excluded.state, attempt = excluded.attempt,
       started_us = excluded.started_us, retry_at_us = excluded.retry_at_us,
       fingerprint = excluded.fingerprint, arguments = excluded.arguments,
       details = COALESCE(excluded.details, details), error = COALESCE(excluded.error, error)

-- :name delete_step
-- :each (run, step)
-- :order 90
-- The step has ended, or nobody waits for it any more.
DELETE FROM durable_step
 WHERE run = NEW.run AND step = NEW.step

-- :name list_steps
-- What one run's pending steps remember.
SELECT step, name, state, attempt, counted_from, scheduled_us, started_us, retry_at_us,
       fingerprint, arguments, details, error
  FROM durable_step
 WHERE run = :run
 ORDER BY step

-- :name list_place_holders
-- :scan allowed (the runs in the hands of one worker; asked for one run by hand)
-- The attempts of a worker that have begun and take long, oldest first.
  WITH run AS MATERIALIZED (
         SELECT pk, id, ordinal
           FROM durable_run INDEXED BY durable_run_owned
          WHERE worker_id = :worker)
SELECT run.id, run.ordinal, step.name, step.started_us
  FROM run CROSS JOIN durable_step AS step INDEXED BY sqlite_autoindex_durable_step_1
    ON step.run = run.pk
 WHERE step.state IN ('running', 'intent') AND step.started_us IS NOT NULL
 ORDER BY step.started_us
 LIMIT :limit

-- :name count_queued_before
-- How many attempts of a worker wait for a place and come before one: they are more urgent, or as
-- urgent and have waited for longer.
SELECT COALESCE(SUM((SELECT COUNT(*)
                       FROM durable_step AS step
                      WHERE step.run = run.pk AND step.state = 'queued'
                        AND (run.priority, step.started_us, run.pk)
                            < (:priority, :since_us, :run))), 0)
  FROM durable_run AS run INDEXED BY durable_run_owned
 WHERE run.worker_id = :worker

-- :name find_waiting_retry
-- A step of a run that waits for its next attempt, if there is one.
SELECT step
  FROM durable_step
 WHERE run = :run AND state = 'retrying' AND retry_at_us > :now_us
 ORDER BY step
 LIMIT 1

-- :name find_exhausted
-- A step of a run whose attempts are used up, if there is one.
SELECT step
  FROM durable_step
 WHERE run = :run AND state = 'exhausted'
 ORDER BY step
 LIMIT 1

-- :name retry_steps_now
-- A person asked for it: pending steps are tried now, and earlier attempts count no more.
UPDATE durable_step
   SET state = 'retrying', retry_at_us = :now_us, counted_from = attempt, scheduled_us = :now_us
 WHERE run = :run AND state IN ('retrying', 'exhausted')

-- :name insert_attempt
-- :rows
-- :order 100
-- A failed or abandoned attempt. An attempt cut off by a crash may be made again and fail again.
INSERT INTO durable_attempt (run, step, attempt, name, state, started_us, ended_us, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, step, attempt) DO UPDATE
   SET state = excluded.state, started_us = excluded.started_us, ended_us = excluded.ended_us,
       error = excluded.error

-- :name list_attempts
-- The failed attempts of one run, step by step.
SELECT step, attempt, name, state, started_us, ended_us, error
  FROM durable_attempt
 WHERE run = :run
 ORDER BY step, attempt

-- :name insert_once
-- :rows
-- :order 70
-- A step that runs at most once is about to begin.
INSERT INTO durable_once (run, step)
VALUES (?, ?)
    ON CONFLICT (run, step) DO NOTHING

-- :name delete_once
-- :each (run, step)
-- :order 80
-- A step that runs at most once was given up before its code began.
DELETE FROM durable_once
 WHERE run = NEW.run AND step = NEW.step
