-- :name insert_run
-- :rows
-- A start. The unique key decides between two starts of one id; the loser gets no row back.
INSERT INTO durable_run (id, ordinal, workflow, state, worker_id, wake_at_us, queue, priority, headers, salt,
                 arguments, fingerprint, checksum, cause, code, created_us, started_us, clock_us,
                 root_pk, parent_pk, parent_step, on_parent_close, deadline_us, source_pk, redo_seq,
                 adopts, run_timeout_us, labels)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id, ordinal) DO NOTHING
RETURNING pk, salt

-- :name insert_labels
-- :each (run)
-- :scan allowed (a run has a few labels)
-- Tags and attributes, where they are looked for.
INSERT OR IGNORE INTO durable_label (name, value, run)
SELECT one.value ->> 0,
       CASE json_type(one.value, '$[1]') WHEN 'true' THEN 'true' WHEN 'false' THEN 'false'
            ELSE one.value ->> 1 END,
       NEW.run
  FROM json_each((SELECT labels FROM durable_run WHERE pk = NEW.run)) AS one

-- :name update_run
-- :each (pk, state, worker, wake_at_us, waits, lost, alone)
-- :order 170
-- An open run changes state: parked, handed back, ready again, paused or blocked. It does not park
-- if something for it came in meanwhile.
UPDATE durable_run
   SET state = CASE WHEN NEW.state = 'parked'
                     AND EXISTS (SELECT 1 FROM durable_inbox INDEXED BY durable_inbox_run
                                  WHERE run = NEW.pk)
                    THEN 'ready' ELSE NEW.state END,
       worker_id = NEW.worker, wake_at_us = NEW.wake_at_us,
       waits = CASE WHEN NEW.state <> 'parked'
                      OR NOT EXISTS (SELECT 1 FROM durable_inbox INDEXED BY durable_inbox_run
                                      WHERE run = NEW.pk)
                    THEN NEW.waits END,
       lost = NEW.lost, alone = NEW.alone
 WHERE pk = NEW.pk AND closed_us IS NULL

-- :name close_run
-- :each (pk, state, closed_us, result, checksum, origin)
-- :order 270
-- A run ends, in the transaction of its last event.
UPDATE durable_run
   SET state = NEW.state, closed_us = NEW.closed_us, result = NEW.result,
       result_checksum = NEW.checksum, origin = NEW.origin, worker_id = NULL, wake_at_us = NULL,
       waits = NULL
 WHERE pk = NEW.pk AND closed_us IS NULL

-- :name delete_inbox_of_run
-- :each (run)
-- :order 340
-- A closed run has no more requests to answer.
INSERT INTO durable_delete_inbox (id)
SELECT id
  FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = NEW.run

-- :name delete_steps_of_run
-- :rows
-- :order 330
-- :scan allowed (v is the list of values of this statement)
-- A closed run has no pending steps.
DELETE FROM durable_step WHERE run IN (VALUES (?))

-- :name claim_run
-- Take a free run that is ready, or parked and due. No row back: somebody else was faster. The time
-- it waited for a worker does not count against its run_timeout; a child's ends with its parent's. What
-- just waited as its worker stopped shows so until its code has been looked at.
UPDATE durable_run
   SET state = 'ready', worker_id = :worker,
       wake_at_us = CASE WHEN state = 'ready' THEN wake_at_us END,
       waits = CASE WHEN state = 'ready' THEN waits END,
       deadline_us = CASE WHEN started_us IS NULL AND parent_pk IS NULL
                          THEN :now_us + run_timeout_us
                          ELSE deadline_us END,
       started_us = COALESCE(started_us, :now_us), clock_us = COALESCE(clock_us, :now_us)
 WHERE pk = :pk AND worker_id IS NULL
   AND closed_us IS NULL -- else the row was changed by hand, and its CHECK would refuse the others
   AND (state = 'ready' OR (state = 'parked' AND wake_at_us <= :now_us))
RETURNING started_us

-- :name find_claimable
-- Free runs of one workflow that are ready, most urgent and oldest first.
SELECT priority, pk
  FROM durable_run INDEXED BY durable_run_claimable
 WHERE state = 'ready' AND worker_id IS NULL AND workflow = :workflow
 ORDER BY priority, pk
 LIMIT :limit

-- :name list_claimable
-- Names as bytes: one that is no text, of a damaged row, hides no other.
-- :scan allowed (over the names found so far)
-- The workflows that have free runs that are ready, and the most urgent of each: a step from one to
-- the next along the index, however many runs they have and however many workflows a worker knows.
  WITH RECURSIVE name (workflow) AS (
         SELECT (SELECT workflow
                   FROM durable_run INDEXED BY durable_run_claimable
                  WHERE state = 'ready' AND worker_id IS NULL AND workflow >= ''
                  ORDER BY workflow
                  LIMIT 1)
          UNION ALL
         SELECT (SELECT run.workflow
                   FROM durable_run AS run INDEXED BY durable_run_claimable
                  WHERE run.state = 'ready' AND run.worker_id IS NULL
                    AND run.workflow > name.workflow
                  ORDER BY run.workflow
                  LIMIT 1)
           FROM name
          WHERE name.workflow IS NOT NULL)
SELECT CAST(workflow AS BLOB),
       (SELECT run.priority
          FROM durable_run AS run INDEXED BY durable_run_claimable
         WHERE run.state = 'ready' AND run.worker_id IS NULL AND run.workflow = name.workflow
         ORDER BY run.priority, run.pk
         LIMIT 1),
       (SELECT run.pk
          FROM durable_run AS run INDEXED BY durable_run_claimable
         WHERE run.state = 'ready' AND run.worker_id IS NULL AND run.workflow = name.workflow
         ORDER BY run.priority, run.pk
         LIMIT 1)
  FROM name
 WHERE workflow IS NOT NULL

-- :name find_asked
-- :scan allowed (the inbox holds only what nobody has taken yet)
-- Free runs of some workflows (a JSON list) that have begun, and have a message to read.
SELECT DISTINCT inbox.run
  FROM durable_inbox AS inbox INDEXED BY durable_inbox_run
 WHERE (SELECT run.state = 'ready' AND run.worker_id IS NULL AND run.started_us IS NOT NULL
               AND run.workflow IN (SELECT value FROM json_each(:workflows))
          FROM durable_run AS run
         WHERE run.pk = inbox.run)
 ORDER BY inbox.run
 LIMIT :limit

-- :name find_due
-- Parked runs of a workflow that nobody holds in memory and whose time has come, oldest first. By
-- workflow: runs that no worker here can run must not stand in the way of others.
SELECT pk, wake_at_us
  FROM durable_run INDEXED BY durable_run_wake
 WHERE state = 'parked' AND workflow = :workflow AND wake_at_us <= :now_us AND worker_id IS NULL
 ORDER BY wake_at_us
 LIMIT :limit

-- :name list_soonest
-- Parked runs that nobody holds in memory, of all workflows: those that come due first.
SELECT wake_at_us, CAST(workflow AS BLOB), pk
  FROM durable_run INDEXED BY durable_run_soonest
 WHERE state = 'parked' AND worker_id IS NULL AND wake_at_us >= 0
 ORDER BY wake_at_us
 LIMIT :limit

-- :name list_wakes
-- :scan allowed (over the names found so far)
-- The workflows that have parked runs that nobody holds in memory, and when the first of each comes
-- due: a step from one to the next along the index.
  WITH RECURSIVE name (workflow) AS (
         SELECT (SELECT workflow
                   FROM durable_run INDEXED BY durable_run_wake
                  WHERE state = 'parked' AND worker_id IS NULL AND wake_at_us IS NOT NULL
                    AND workflow >= ''
                  ORDER BY workflow
                  LIMIT 1)
          UNION ALL
         SELECT (SELECT run.workflow
                   FROM durable_run AS run INDEXED BY durable_run_wake
                  WHERE run.state = 'parked' AND run.worker_id IS NULL
                    AND run.wake_at_us IS NOT NULL AND run.workflow > name.workflow
                  ORDER BY run.workflow
                  LIMIT 1)
           FROM name
          WHERE name.workflow IS NOT NULL)
SELECT CAST(workflow AS BLOB),
       (SELECT run.wake_at_us
          FROM durable_run AS run INDEXED BY durable_run_wake
         WHERE run.state = 'parked' AND run.worker_id IS NULL AND run.wake_at_us IS NOT NULL
           AND run.workflow = name.workflow
         ORDER BY run.wake_at_us
         LIMIT 1)
  FROM name
 WHERE workflow IS NOT NULL

-- :name get_run
-- One run, whole.
SELECT pk, id, ordinal, workflow, state, worker_id, wake_at_us, waits, lost, queue, priority,
       headers, salt, arguments, fingerprint, checksum, cause, code, created_us, started_us,
       clock_us, closed_us, result, result_checksum, origin, root_pk, parent_pk, parent_step,
       on_parent_close, deadline_us, source_pk, redo_seq, adopts, run_timeout_us, labels,
       error, issue, begun
  FROM durable_run
 WHERE pk = :pk

-- :name get_owner_and_last_seq
-- Whose an open run is, and its last event: asked in the transaction that records the next one.
SELECT worker_id, (SELECT COALESCE(MAX(seq), 0) FROM durable_event AS event WHERE event.run = run.pk)
  FROM durable_run AS run
 WHERE pk = :run AND closed_us IS NULL

-- :name find_last_seq
-- The last event of a run, if there is such a run.
SELECT (SELECT COALESCE(MAX(seq), 0) FROM durable_event AS event WHERE event.run = run.pk)
  FROM durable_run AS run
 WHERE pk = :run

-- :name find_newest
-- The newest ordinal of an id.
SELECT pk, id, ordinal, workflow, state, worker_id, wake_at_us, waits, lost, queue, priority,
       headers, salt, arguments, fingerprint, checksum, cause, code, created_us, started_us,
       clock_us, closed_us, result, result_checksum, origin, root_pk, parent_pk, parent_step,
       on_parent_close, deadline_us, source_pk, redo_seq, adopts, run_timeout_us, labels,
       error, issue, begun
  FROM durable_run
 WHERE id = :id
 ORDER BY ordinal DESC
 LIMIT 1

-- :name find_ordinal
-- One ordinal of an id.
SELECT pk, id, ordinal, workflow, state, worker_id, wake_at_us, waits, lost, queue, priority,
       headers, salt, arguments, fingerprint, checksum, cause, code, created_us, started_us,
       clock_us, closed_us, result, result_checksum, origin, root_pk, parent_pk, parent_step,
       on_parent_close, deadline_us, source_pk, redo_seq, adopts, run_timeout_us, labels,
       error, issue, begun
  FROM durable_run
 WHERE id = :id AND ordinal = :ordinal

-- :name find_line
-- The ordinals that go on from each other, this one among them: from the last that began anew to the
-- one before the next that did.
SELECT COALESCE((SELECT MAX(ordinal)
                   FROM durable_run
                  WHERE id = :id AND ordinal <= :ordinal AND cause IN ('started', 'restarted')), 1),
       COALESCE((SELECT MIN(ordinal) - 1
                   FROM durable_run
                  WHERE id = :id AND ordinal > :ordinal AND cause IN ('started', 'restarted')),
                1 << 62)

-- :name find_ids_by_end
-- :scan allowed (along the index of ids, where no run has this very id)
-- The ids that end with a text.
SELECT DISTINCT id
  FROM durable_run
 WHERE substr(id, -length(:end)) = :end
 ORDER BY id
 LIMIT :limit

-- :name get_last_key
-- The key of the newest run, or 0.
SELECT COALESCE(MAX(pk), 0)
  FROM durable_run

-- :name list_workflows
-- :scan allowed (over the names found so far)
-- The names of all workflows in the file: a step from one to the next along the index.
  WITH RECURSIVE name (workflow) AS (
         SELECT MIN(workflow) FROM durable_run AS run
          UNION ALL
         SELECT (SELECT MIN(run.workflow) FROM durable_run AS run WHERE run.workflow > name.workflow)
           FROM name
          WHERE name.workflow IS NOT NULL)
SELECT workflow
  FROM name
 WHERE workflow IS NOT NULL

-- :name count_ready_of_workers
-- Ready runs in the hands of each worker, but for those whose rows say what they wait for; of one
-- workflow, or of all.
SELECT worker_id, COUNT(*)
  FROM durable_run INDEXED BY durable_run_owned
 WHERE worker_id IS NOT NULL AND state = 'ready' AND wait_kind IS NULL
   AND (:workflow IS NULL OR workflow = :workflow)
 GROUP BY worker_id
 ORDER BY worker_id

-- :name count_open
-- :scan allowed (over the narrow index of states)
-- Whether any run but those parked for later is open.
SELECT COUNT(*)
  FROM durable_run
 WHERE state IN ('ready', 'parked')

-- :name free_runs_of_worker
-- The worker ended in order: its runs are free, and none of them was lost.
UPDATE durable_run
   SET worker_id = NULL, alone = 0,
       waits = CASE WHEN state <> 'ready' OR wait_kind <> 'queued' THEN waits END
 WHERE worker_id = :worker

-- :name lose_runs_of_worker
-- The worker died: those that were not just parked may have killed it. From the number of losses on
-- from which a run is served alone, only the one that was is suspected any further.
UPDATE durable_run
   SET worker_id = NULL, lost = lost + (state = 'ready' AND (lost < :lost_alone OR alone)), alone = 0,
       waits = CASE WHEN state <> 'ready' OR wait_kind <> 'queued' THEN waits END
 WHERE worker_id = :worker

-- :name wake_run
-- A request came in: a parked run is looked at again. One that has not begun begins at its time. One
-- that waited as its worker stopped waits for a worker now.
UPDATE durable_run
   SET state = 'ready', wake_at_us = NULL, waits = NULL
 WHERE pk = :pk AND started_us IS NOT NULL
   AND (state = 'parked' OR (state = 'ready' AND worker_id IS NULL AND waits IS NOT NULL))

-- :name close_run_from_outside
-- Nobody holds the run, so the caller may close it.
UPDATE durable_run
   SET state = :state, closed_us = :now_us, result = :result, result_checksum = :checksum,
       origin = 0, wake_at_us = NULL, waits = NULL
 WHERE pk = :pk AND worker_id IS NULL AND closed_us IS NULL
RETURNING pk

-- :name ready_run
-- A paused or blocked run is tried again. One that has not begun begins at its time: only then does
-- it have one.
UPDATE durable_run
   SET state = CASE WHEN wake_at_us IS NULL THEN 'ready' ELSE 'parked' END, waits = NULL, lost = 0,
       result = NULL, result_checksum = NULL, origin = NULL
 WHERE pk = :pk AND state IN ('paused', 'blocked') AND worker_id IS NULL
RETURNING pk

-- :name ready_blocked_of_workflow
-- Code has started that may fit: blocked runs are tried again, but not those that killed workers.
UPDATE durable_run INDEXED BY durable_run_blocked
   SET state = 'ready', waits = NULL
 WHERE state = 'blocked' AND workflow = :workflow AND lost < :lost_max

-- :name pause_run
-- A run that failed under on_failure="pause" keeps its failure while it waits for a person.
UPDATE durable_run
   SET result = :result, result_checksum = :checksum, origin = :origin
 WHERE pk = :pk AND closed_us IS NULL

-- :name mark_redo
-- :each (pk, seq)
-- :order 40
-- The code did not come through the drain of this event: it is done anew.
UPDATE durable_run
   SET redo_seq = NEW.seq
 WHERE pk = NEW.pk

-- :name note_begun
-- :each (pk)
-- :order 50
-- The code of runs has come to its first wait, and nothing of it is recorded yet.
UPDATE durable_run
   SET begun = 1
 WHERE pk = NEW.pk

-- :name note_recorded
-- A transaction's step is recorded: its worker lives, and the code has not gone on from there yet.
UPDATE durable_run
   SET redo_seq = :seq, lost = 0, alone = 0
 WHERE pk = :run

-- :name renew_deadline
-- A run that goes on from its failure has the whole of its time again.
UPDATE durable_run
   SET deadline_us = :now_us + run_timeout_us
 WHERE pk = :pk AND run_timeout_us IS NOT NULL

-- :name wake_parents
-- :each (child)
-- :order 210
-- Children ended: their parents, if parked, are looked at again.
INSERT INTO durable_wake_runs (pk)
SELECT parent_pk
  FROM durable_run
 WHERE pk = NEW.child

-- :name wake_runs
-- :each (pk)
-- Something came in for runs: those that are parked are looked at again, as by wake_run.
UPDATE durable_run
   SET state = 'ready', wake_at_us = NULL, waits = NULL
 WHERE pk = NEW.pk AND started_us IS NOT NULL
   AND (state = 'parked' OR (state = 'ready' AND worker_id IS NULL AND waits IS NOT NULL))

-- :name find_child
-- The child that a step of a run started: the newest, should there be more.
SELECT pk
  FROM durable_run
 WHERE parent_pk = :parent AND parent_step = :step
 ORDER BY pk DESC
 LIMIT 1

-- :name list_children
-- :scan allowed (one run's children, in the order of their starts)
-- The runs that a run started, oldest first.
SELECT pk, parent_step
  FROM durable_run
 WHERE parent_pk = :parent
 ORDER BY pk
 LIMIT :limit

-- :name list_family
-- :scan allowed (one run's children, in the order of their starts)
-- What a tree shows of the runs that a run started, oldest first.
SELECT pk, workflow, state, worker_id, waits, parent_step
  FROM durable_run
 WHERE parent_pk = :parent
 ORDER BY pk
 LIMIT :limit

-- :name list_followers
-- The runs that go on from a run, oldest first.
SELECT pk
  FROM durable_run
 WHERE source_pk = :run
 ORDER BY pk

-- :name list_open_children
-- The open children that mind their parent's end.
SELECT pk, on_parent_close
  FROM durable_run
 WHERE parent_pk = :parent AND closed_us IS NULL AND on_parent_close <> 'abandon'
 ORDER BY pk

-- :name adopt_run
-- A retried parent goes on with the child that its earlier ordinal started.
UPDATE durable_run
   SET parent_pk = :parent, parent_step = :step
 WHERE pk = :pk
