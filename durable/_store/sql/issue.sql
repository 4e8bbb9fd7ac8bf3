-- :name insert_alert
-- :each (fingerprint, run, at_us)
-- :order 280
-- :scan allowed (of the one row that is made here)
-- Before it is counted: a group that is new, or was resolved, is to be told of.
INSERT OR IGNORE INTO durable_alert (fingerprint, run, at_us, what)
SELECT NEW.fingerprint, NEW.run, NEW.at_us,
       CASE WHEN before IS NULL THEN 'new' ELSE 'regressed' END
  FROM (SELECT (SELECT state FROM durable_issue WHERE fingerprint = NEW.fingerprint) AS before)
 WHERE before IS NULL OR before = 'resolved'

-- :name list_alerts
-- :scan allowed (of what is to be told: a few rows)
-- What is to be told, the oldest first.
SELECT id, fingerprint, what, run, worker_id, at_us
  FROM durable_alert
 ORDER BY id
 LIMIT :limit

-- :name claim_alert
-- A worker tells it; no row back: another one was faster.
UPDATE durable_alert
   SET worker_id = :worker
 WHERE id = :id AND worker_id IS :before
RETURNING id

-- :name delete_alert
-- It was told.
DELETE FROM durable_alert WHERE id = :id

-- :name upsert_issue
-- :rows
-- :order 290
-- One more of a kind. One that was resolved is open again.
INSERT INTO durable_issue (fingerprint, kind, type, title, function, place, sample, sample_run, first_us,
                   last_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (fingerprint) DO UPDATE
   SET seen = seen + 1, last_us = excluded.last_us, sample = excluded.sample,
       sample_run = excluded.sample_run,
       state = CASE state WHEN 'resolved' THEN 'open' ELSE state END

-- :name count_issue
-- :rows
-- :order 300
-- One more of a kind in its hour.
INSERT INTO durable_issue_count (fingerprint, workflow, code, hour)
VALUES (?, ?, ?, ?)
    ON CONFLICT (fingerprint, hour, workflow, code) DO UPDATE
   SET seen = seen + 1

-- :name set_issue_of_run
-- :each (pk, fingerprint, error)
-- :order 320
-- A run belongs to the group of its last failure.
UPDATE durable_run
   SET issue = (SELECT id FROM durable_issue WHERE fingerprint = NEW.fingerprint), error = NEW.error
 WHERE pk = NEW.pk

-- :name clear_issue_of_run
-- :each (pk)
-- :order 310
-- A run went on: what it was held up by is over.
UPDATE durable_run
   SET issue = NULL, error = NULL
 WHERE pk = NEW.pk

-- :name list_issues
-- :scan allowed (over the index of times; a page of it)
-- Groups of like failures, the one with the newest failure first.
SELECT id, fingerprint, kind, type, title, function, place, sample, sample_run, state, seen,
       first_us, last_us
  FROM durable_issue
 ORDER BY last_us DESC
 LIMIT :limit

-- :name find_issue
-- One group, by its number or its fingerprint.
SELECT id, fingerprint, kind, type, title, function, place, sample, sample_run, state, seen,
       first_us, last_us
  FROM durable_issue
 WHERE id = :id
 UNION ALL
SELECT id, fingerprint, kind, type, title, function, place, sample, sample_run, state, seen,
       first_us, last_us
  FROM durable_issue
 WHERE fingerprint = :fingerprint

-- :name count_open_of_issue
-- Runs of a group that are open, or failed and go on as no other.
SELECT COUNT(*)
  FROM durable_run AS run INDEXED BY durable_run_issue
 WHERE issue = :issue AND state IN ('ready', 'parked', 'paused', 'blocked', 'failed')
   AND NOT EXISTS (SELECT 1 FROM durable_run AS later WHERE later.source_pk = run.pk)

-- :name list_counts_of_issue
-- How often a group came up, by hour, workflow and code.
SELECT hour, workflow, code, seen
  FROM durable_issue_count
 WHERE fingerprint = :fingerprint AND hour >= :from_hour
 ORDER BY hour, workflow, code

-- :name set_state_of_issue
-- A person mutes or resolves a group, or opens it again.
UPDATE durable_issue
   SET state = :state
 WHERE id = :id
RETURNING id
