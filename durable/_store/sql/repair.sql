-- :name insert_audit
-- :rows
-- Somebody repaired a run.
INSERT INTO durable_audit (run, verb, who, why, details, at_us)
VALUES (?, ?, ?, ?, ?, ?)

-- :name copy_audit_of_restart
-- Who restarted a run that a worker held is told of the new one too.
INSERT INTO durable_audit (run, verb, who, why, details, at_us)
SELECT :to, verb, who, why, details, at_us
  FROM durable_audit
 WHERE run = :run AND verb = 'restart'
 ORDER BY id DESC
 LIMIT 1

-- :name list_audit
-- What was done to a run, oldest first.
SELECT verb, who, why, details, at_us
  FROM durable_audit
 WHERE run = :run
 ORDER BY id
 LIMIT :limit

-- :name find_last_drained
-- The last event before a place whose drain is known: patches are decided in the drain before them.
SELECT COALESCE(MAX(seq), 0)
  FROM durable_event
 WHERE run = :run AND seq < :before AND kind <> 5

-- :name list_places
-- A history's events as places to go on from: where each is, what it is and of which step.
SELECT seq, kind, step, name
  FROM durable_event
 WHERE run = :run
 ORDER BY seq

-- :name find_once_from
-- Steps that run at most once and were begun, and whose ends are not kept.
SELECT once.step
  FROM durable_once AS once
 WHERE once.run = :run
   AND NOT EXISTS (SELECT 1 FROM durable_event AS event
                    WHERE event.run = once.run AND event.step = once.step
                      AND event.seq < :before AND event.kind IN (1, 2))
 ORDER BY once.step

-- :name find_once_of_children
-- :scan allowed (family is the rows of this statement: a run's children, and theirs)
-- Steps that run at most once and were begun, of children whose start is not kept, and of theirs.
WITH RECURSIVE family (pk, id) AS (
  SELECT run.pk, run.id
    FROM durable_run AS run INDEXED BY durable_run_parent
   WHERE run.parent_pk = :run
     AND run.parent_step NOT IN (SELECT event.step || '!end'
                                   FROM durable_event AS event
                                  WHERE event.run = :run AND event.kind = 10
                                    AND event.seq < :before)
   UNION
  SELECT run.pk, run.id
    FROM family CROSS JOIN durable_run AS run INDEXED BY durable_run_parent
      ON run.parent_pk = family.pk
)
SELECT family.id, once.step
  FROM family CROSS JOIN durable_once AS once INDEXED BY sqlite_autoindex_durable_once_1
    ON once.run = family.pk
 ORDER BY family.pk, once.step

-- :name copy_once
-- A new ordinal knows of the steps that are kept.
INSERT INTO durable_once AS once (run, step)
SELECT :to, once.step
  FROM durable_once AS once
 WHERE once.run = :run
   AND (SELECT 1 FROM durable_event AS event
         WHERE event.run = :to AND event.step = once.step AND event.kind IN (1, 2)) = 1

-- :name copy_accepted
-- A new ordinal lets pass what was let pass before, of the ends that it keeps.
INSERT INTO durable_accepted AS accepted (run, step)
SELECT :to, step
  FROM durable_accepted AS accepted
 WHERE run = :run
   AND (SELECT 1 FROM durable_event AS event
         WHERE event.run = :to AND event.step = accepted.step
           AND event.kind IN (1, 2, 8, 9, 10, 11, 12, 13)) = 1

-- :name drop_accepted
-- What was let pass of ends that a run in place has dropped.
DELETE FROM durable_accepted AS accepted
 WHERE run = :run AND step <> ''
   AND NOT EXISTS (SELECT 1 FROM durable_event AS event
                    WHERE event.run = :run AND event.step = accepted.step
                      AND event.kind IN (1, 2, 8, 9, 10, 11, 12, 13))

-- :name insert_accepted
-- A person lets a recorded end pass although the code now asks with other arguments.
INSERT INTO durable_accepted (run, step)
VALUES (:run, :step)
    ON CONFLICT (run, step) DO NOTHING

-- :name list_accepted
-- The recorded ends that a person let pass.
SELECT step
  FROM durable_accepted
 WHERE run = :run
 ORDER BY step

-- :name get_end_of_step
-- How a step ended: what a person may replace.
SELECT seq, kind, arguments
  FROM durable_event
 WHERE run = :run AND step = :step AND kind IN (1, 2, 8, 9, 10, 11, 12, 13)
 ORDER BY seq
 LIMIT 1

-- :name replace_end_of_step
-- A person says how a step ended, in the copied history of a new ordinal.
UPDATE durable_event
   SET kind = :kind, result = :result, checksum = :checksum
 WHERE run = :run AND seq = :seq

-- :name copy_redone
-- A new ordinal keeps the keys of the steps that were done again before.
INSERT INTO durable_redone (run, step, ordinal)
SELECT :to, step, ordinal
  FROM durable_redone
 WHERE run = :run

-- :name insert_redone
-- Steps that completed and are done again: other calls to the world, with keys of their own.
INSERT INTO durable_redone (run, step, ordinal)
SELECT :to, step, :ordinal
  FROM durable_event
 WHERE run = :run AND seq >= :from_seq AND kind = 1
    ON CONFLICT (run, step) DO UPDATE
   SET ordinal = excluded.ordinal

-- :name list_redone
-- The steps of a run that completed in an earlier ordinal and are done again, and since when.
SELECT step, ordinal
  FROM durable_redone
 WHERE run = :run
 ORDER BY step

-- :name list_kept_children
-- Children of a run whose start is in a copied history, and whose end is not, nor about to be.
SELECT run.pk, run.parent_step
  FROM durable_run AS run INDEXED BY durable_run_parent
 WHERE run.parent_pk = :run
   AND (SELECT 1 FROM durable_event AS event
         WHERE event.run = :to AND event.step || '!end' = run.parent_step
           AND event.kind = 10) = 1
   AND NOT EXISTS (SELECT 1 FROM durable_event AS event
                    WHERE event.run = :to AND event.step = run.parent_step)
   AND NOT EXISTS (SELECT 1 FROM durable_inbox AS inbox INDEXED BY durable_inbox_run
                    WHERE inbox.run = :to AND inbox.kind = 'child'
                      AND inbox.key = run.parent_step)
 ORDER BY run.pk

-- :name share_blobs_of_published
-- :scan allowed (the inner list is what one run has published)
-- Copied values and items share their blobs with the originals.
INSERT INTO temp.durable_share_blobs (id, uses)
SELECT payload, COUNT(*)
  FROM (SELECT payload FROM durable_value WHERE run = :run AND typeof(payload) = 'integer'
        UNION ALL
        SELECT payload FROM durable_item WHERE run = :run AND typeof(payload) = 'integer')
 GROUP BY payload

-- :name list_open_children_of
-- The open children of a run.
SELECT pk, id
  FROM durable_run
 WHERE parent_pk = :parent AND closed_us IS NULL
 ORDER BY pk

-- :name pause_free_run
-- A run nobody holds is paused by a person; one that has not begun keeps the time at which it may.
UPDATE durable_run
   SET state = 'paused', waits = :waits,
       wake_at_us = CASE WHEN started_us IS NULL THEN wake_at_us END
 WHERE pk = :pk AND worker_id IS NULL AND state IN ('ready', 'parked')

-- :name take_resumes
-- A run was resumed while it waited for its running attempts, and is paused now.
DELETE FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = :run AND kind = 'resume'
RETURNING id

-- :name find_pause
-- Whether a run was asked to pause, and still waits for its running attempts.
SELECT id
  FROM durable_inbox
 WHERE run = :run AND kind = 'pause'
 ORDER BY id
 LIMIT 1

-- :name release_blobs_of_run
-- :scan allowed (the inner list is what one run has)
-- A run is deleted: each of its rows uses a blob no more.
INSERT INTO temp.durable_release_blobs (id, uses)
SELECT payload, COUNT(*)
  FROM (SELECT arguments AS payload FROM durable_run WHERE pk = :run
        UNION ALL SELECT result FROM durable_run WHERE pk = :run
        UNION ALL SELECT arguments FROM durable_event WHERE run = :run
        UNION ALL SELECT result FROM durable_event WHERE run = :run
        UNION ALL SELECT payload FROM durable_inbox INDEXED BY durable_inbox_run WHERE run = :run
        UNION ALL SELECT result FROM durable_answer WHERE run = :run
        UNION ALL SELECT payload FROM durable_letter INDEXED BY durable_letter_run WHERE run = :run
        UNION ALL SELECT payload FROM durable_value WHERE run = :run
        UNION ALL SELECT payload FROM durable_item WHERE run = :run)
 WHERE typeof(payload) = 'integer'
 GROUP BY payload

-- :name release_blobs
-- :each (id, uses)
-- So many rows use blobs no more.
UPDATE durable_blob
   SET refs = MAX(0, refs - NEW.uses)
 WHERE id = NEW.id

-- :name delete_free_blobs
-- :scan allowed (over the index of those alone)
-- Nobody uses them.
DELETE FROM durable_blob
 WHERE refs = 0

-- :name delete_events_of_run
-- A run is deleted.
DELETE FROM durable_event
 WHERE run = :run

-- :name delete_steps_of_run_now
-- A run is deleted.
DELETE FROM durable_step
 WHERE run = :run

-- :name delete_attempts_of_run
-- A run is deleted.
DELETE FROM durable_attempt
 WHERE run = :run

-- :name delete_inbox_of_run_now
-- A run is deleted.
DELETE FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = :run

-- :name delete_answers_of_run
-- A run is deleted.
DELETE FROM durable_answer
 WHERE run = :run

-- :name delete_letters_of_run
-- A run is deleted.
DELETE FROM durable_letter INDEXED BY durable_letter_run
 WHERE run = :run

-- :name delete_values_of_run
-- A run is deleted.
DELETE FROM durable_value
 WHERE run = :run

-- :name delete_items_of_run
-- A run is deleted.
DELETE FROM durable_item
 WHERE run = :run

-- :name delete_once_of_run
-- A run is deleted.
DELETE FROM durable_once
 WHERE run = :run

-- :name delete_redone_of_run
-- A run is deleted.
DELETE FROM durable_redone
 WHERE run = :run

-- :name delete_accepted_of_run
-- A run is deleted.
DELETE FROM durable_accepted
 WHERE run = :run

-- :name delete_run
-- A run is deleted, last of all it had.
DELETE FROM durable_run
 WHERE pk = :run AND closed_us IS NOT NULL

-- :name delete_labels_of_run
-- A run is deleted: its tags and attributes.
DELETE FROM durable_label INDEXED BY durable_label_run
 WHERE run = :run

-- :name insert_code_span
-- :rows
-- :order 30
-- Other code than before went through an event.
INSERT OR IGNORE INTO durable_code_span (run, from_seq, code, at_us)
VALUES (?, ?, ?, ?)

-- :name list_code_spans
-- Which code went through a run's events, but for that it began with.
SELECT from_seq, code, at_us
  FROM durable_code_span
 WHERE run = :run
 ORDER BY from_seq

-- :name copy_code_spans
-- A new ordinal keeps which code went through the events it keeps.
INSERT INTO durable_code_span (run, from_seq, code, at_us)
SELECT :to, from_seq, code, at_us
  FROM durable_code_span
 WHERE run = :run AND from_seq < :before

-- :name delete_code_spans_of_run
-- A run is deleted: which code went through it.
DELETE FROM durable_code_span WHERE run = :run

-- :name insert_hold
-- A workflow or a queue is paused; said again, the newest reason counts.
INSERT INTO durable_hold (kind, name, who, why, at_us)
VALUES (:kind, :name, :who, :why, :now_us)
    ON CONFLICT (kind, name) DO UPDATE
   SET who = excluded.who, why = excluded.why, at_us = excluded.at_us

-- :name delete_hold
-- It goes on.
DELETE FROM durable_hold
 WHERE kind = :kind AND name = :name
RETURNING name

-- :name list_holds
-- :scan allowed (a few rows)
-- What is paused as a whole.
SELECT kind, name, who, why, at_us
  FROM durable_hold
 ORDER BY kind, name

-- :name has_hold
-- :scan allowed (up to the first row)
-- Whether anything is paused as a whole.
SELECT EXISTS (SELECT 1 FROM durable_hold)

-- :name hold_runs
-- :each (pk)
-- :scan allowed (over what is paused as a whole: a few rows)
-- Runs that are about to begin, or to go on, and are of what is paused as a whole.
UPDATE durable_run
   SET state = 'paused', worker_id = NULL,
       wake_at_us = CASE WHEN started_us IS NULL THEN wake_at_us END,
       waits = (SELECT json_object('kind', 'paused', 'hold', hold.kind || ':' || hold.name, 'message',
                                   hold.kind || ' ' || hold.name || ' is paused by ' || hold.who
                                   || CASE hold.why WHEN '' THEN '' ELSE ': ' || hold.why END)
                  FROM durable_hold AS hold
                 WHERE hold.kind || ':' || hold.name
                       IN ('workflow:' || durable_run.workflow, 'queue:' || durable_run.queue)
                 ORDER BY hold.kind DESC
                 LIMIT 1)
 WHERE pk = NEW.pk AND closed_us IS NULL
   AND (SELECT COUNT(*)
          FROM durable_hold AS hold
         WHERE hold.kind || ':' || hold.name
               IN ('workflow:' || durable_run.workflow, 'queue:' || durable_run.queue)) > 0

-- :name list_held
-- :scan allowed (over the keys that are given)
-- Which of some runs (a JSON list of their keys) are paused.
SELECT value
  FROM json_each(:pks)
 WHERE (SELECT state FROM durable_run WHERE pk = value) = 'paused'
 ORDER BY value

-- :name upsert_policy
-- A person changes the policy of a pending step.
INSERT INTO durable_policy (run, step, changes)
VALUES (:run, :step, :changes)
    ON CONFLICT (run, step) DO UPDATE
   SET changes = excluded.changes

-- :name list_policies
-- What was changed of the policies of a run's steps.
SELECT step, changes
  FROM durable_policy
 WHERE run = :run
 ORDER BY step

-- :name copy_policies
-- A new ordinal keeps the policies that were changed.
INSERT INTO durable_policy (run, step, changes)
SELECT :to, step, changes
  FROM durable_policy
 WHERE run = :run

-- :name delete_policies_of_run
-- A run is deleted: the policies that were changed.
DELETE FROM durable_policy WHERE run = :run

-- :name list_ended
-- Runs that ended in a span of time, the oldest first, behind a place of this order.
SELECT closed_us, pk, state, workflow, labels
  FROM durable_run INDEXED BY durable_run_closed
 WHERE closed_us IS NOT NULL AND (closed_us, pk) > (:at_us, :pk) AND closed_us <= :until_us
 ORDER BY closed_us, pk
 LIMIT :limit

-- :name is_needed
-- The open runs that need a closed one: its parent, its children, and what goes on from it.
SELECT pk
  FROM durable_run
 WHERE pk = (SELECT parent_pk FROM durable_run WHERE pk = :pk) AND closed_us IS NULL
 UNION ALL
SELECT pk
  FROM durable_run INDEXED BY durable_run_parent
 WHERE parent_pk = :pk AND closed_us IS NULL
 UNION ALL
SELECT pk
  FROM durable_run INDEXED BY durable_run_source
 WHERE source_pk = :pk AND closed_us IS NULL
