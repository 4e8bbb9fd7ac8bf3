-- :name insert_job
-- An act on many runs is asked for.
INSERT INTO durable_job (verb, query, details, who, why, total, upto, created_us)
VALUES (:verb, :query, :details, :who, :why, :total, :upto, :now_us)
RETURNING id

-- :name get_job
-- One of them.
SELECT id, verb, query, details, who, why, state, total, upto, after, done, refused, created_us,
       ended_us
  FROM durable_job
 WHERE id = :id

-- :name list_jobs
-- :scan allowed (along the keys; a page of them)
-- A page of them, the newest first.
SELECT id, verb, query, details, who, why, state, total, upto, after, done, refused, created_us,
       ended_us
  FROM durable_job
 ORDER BY id DESC
 LIMIT :limit

-- :name list_running_jobs
-- :scan allowed (over the index of those that are not done)
-- Those that are not done yet, the oldest first.
SELECT id
  FROM durable_job
 WHERE state = 'running'
 ORDER BY id

-- :name advance_job
-- Some more runs were looked at.
UPDATE durable_job
   SET after = :after, done = done + :done, refused = refused + :refused
 WHERE id = :id

-- :name end_job
-- All runs were looked at, or a person stopped it.
UPDATE durable_job
   SET state = :state, ended_us = :now_us
 WHERE id = :id AND state = 'running'
RETURNING id

-- :name insert_refusal
-- The act was refused for a run.
INSERT INTO durable_job_refusal (job, run, why)
VALUES (:job, :run, :why)

-- :name list_refusals
-- The runs for which the act was refused.
SELECT run, why
  FROM durable_job_refusal
 WHERE job = :job
 ORDER BY run
 LIMIT :limit
