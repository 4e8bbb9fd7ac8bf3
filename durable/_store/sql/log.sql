-- :name insert_log
-- :each (run, salt, at_us, level, logger, step, attempt, text)
-- :order 140
-- What code of a run said through Python's logging, in the order given. A run may be deleted while
-- lines of it wait, and its key given to another: the salt tells them apart.
INSERT INTO durable_log (run, at_us, level, logger, step, attempt, text)
SELECT pk, NEW.at_us, NEW.level, NEW.logger, NEW.step, NEW.attempt, NEW.text
  FROM durable_run
 WHERE pk = NEW.run AND salt = NEW.salt

-- :name list_logs
-- A page of what a run's code said, in order.
SELECT id, at_us, level, logger, step, attempt, text
  FROM durable_log INDEXED BY durable_log_run
 WHERE run = :run AND id > :after AND level >= :level
 ORDER BY id
 LIMIT :limit

-- :name list_last_logs
-- The end of what a run's code said, the newest first.
SELECT id, at_us, level, logger, step, attempt, text
  FROM durable_log INDEXED BY durable_log_run
 WHERE run = :run AND level >= :level
 ORDER BY id DESC
 LIMIT :limit

-- :name count_logs
-- How many lines are kept of a run: there is a limit.
SELECT COUNT(*)
  FROM durable_log INDEXED BY durable_log_run
 WHERE run = :run

-- :name delete_logs_of_run
-- The run is deleted.
DELETE FROM durable_log INDEXED BY durable_log_run
 WHERE run = :run

-- :name insert_source
-- :rows
-- :order 150
-- The source of a workflow's code, once for each fingerprint.
INSERT INTO durable_source (code, workflow, text, file, line, at_us)
VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (code) DO NOTHING

-- :name get_source
-- The source of a workflow's code by its fingerprint.
SELECT code, workflow, text, file, line, at_us
  FROM durable_source
 WHERE code = :code
