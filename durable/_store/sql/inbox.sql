-- :name insert_inbox
-- A request to an open run; the caller is answered when this is committed.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT pk, :kind, :name, :key, :payload, :at_us
  FROM durable_run
 WHERE pk = :run AND closed_us IS NULL
RETURNING id

-- :name insert_child_ends
-- :each (child, at_us)
-- :order 180
-- Children ended: their parents hear of it, if they are open. Whose child a run is stands in the
-- file: a retried parent may have adopted it since its worker read its row.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT child.parent_pk, 'child', '', child.parent_step, CAST(child.pk AS TEXT), NEW.at_us
  FROM durable_run AS child
 WHERE child.pk = NEW.child AND child.parent_step IS NOT NULL
   AND (SELECT parent.closed_us IS NULL FROM durable_run AS parent WHERE parent.pk = child.parent_pk)

-- :name cancel_children
-- :each (run, step, payload, at_us)
-- :order 190
-- The code of a run no longer waits for a child: the child is asked to stop.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT pk, 'cancel', '', '', NEW.payload, NEW.at_us
  FROM durable_run INDEXED BY durable_run_parent
 WHERE parent_pk = NEW.run AND parent_step = NEW.step AND closed_us IS NULL

-- :name wake_children
-- :each (run, step)
-- :order 200
-- Parked children that were asked to stop are looked at again.
INSERT INTO durable_wake_runs (pk)
SELECT pk
  FROM durable_run INDEXED BY durable_run_parent
 WHERE parent_pk = NEW.run AND parent_step = NEW.step

-- :name find_message
-- Whether a message of this id has come to the ordinals that go on from each other: it waits, or
-- became an event. One that began anew has heard nothing of what was said before.
SELECT 1
  FROM durable_run AS run INDEXED BY sqlite_autoindex_durable_run_1
 WHERE run.id = :id AND run.ordinal BETWEEN :first AND :last
   AND COALESCE(
         (SELECT 1
            FROM durable_inbox AS inbox INDEXED BY durable_inbox_key
           WHERE inbox.run = run.pk AND inbox.key = :key AND inbox.key <> '' AND inbox.kind = :kind),
         (SELECT 1
            FROM durable_event AS event INDEXED BY durable_event_message
           WHERE event.run = run.pk AND event.step = :key
             AND event.kind IN (6, 7, 12, 13) AND event.kind = :event_kind),
         (SELECT 1
            FROM durable_answer AS answer
           WHERE answer.run = run.pk AND answer.key = :key AND :kind = 'update')) = 1

-- :name list_inbox_of_worker
-- :scan allowed (the inbox holds only what nobody has taken yet)
-- :plan may turn (from a seek along the keys to a walk along them)
-- Requests to the runs a worker owns, in the order they were committed. Along the inbox: a worker may
-- have ten thousand runs in memory.
SELECT inbox.id, inbox.run, inbox.kind, inbox.name, inbox.key, inbox.payload, inbox.at_us
  FROM durable_inbox AS inbox NOT INDEXED
 WHERE inbox.id > :after
   AND (SELECT run.worker_id FROM durable_run AS run WHERE run.pk = inbox.run) = :worker
 ORDER BY inbox.id
 LIMIT :limit

-- :name get_newest_request
-- The newest request that nobody has taken.
SELECT COALESCE(MAX(id), 0)
  FROM durable_inbox

-- :name list_inbox_of_run
-- Requests to one run, in the order they were committed.
SELECT id, run, kind, name, key, payload, at_us
  FROM durable_inbox
 WHERE run = :run
 ORDER BY id

-- :name delete_inbox
-- :each (id)
-- :order 220
-- The request became an event in this transaction.
DELETE FROM durable_inbox
 WHERE id = NEW.id

-- :name bury_inbox_of_runs
-- :each (run)
-- :order 250
-- Signals that came too late for runs that end: kept as dead letters.
INSERT INTO durable_letter (run, seq, name, key, payload, why, at_us)
SELECT run, NULL, name, key, payload, 'the run ended before it was received', at_us
  FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = NEW.run AND kind = 'signal'
 ORDER BY id

-- :name abandon_updates_of_runs
-- :each (run)
-- :order 260
-- Updates nobody took before their runs ended.
INSERT INTO durable_answer (run, key, name, state, result, at_us)
SELECT run, key, name, 'abandoned', 'null', at_us
  FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = NEW.run AND kind = 'update'
    ON CONFLICT DO NOTHING

-- :name move_inbox
-- Messages nobody took move along to the run's next ordinal.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT :to, kind, name, key, payload, at_us
  FROM durable_inbox
 WHERE run = :run AND kind IN ('signal', 'update')
 ORDER BY id

-- :name resend_messages
-- What others said from a place in a history on is said again to the run that goes on from there:
-- signals (6), updates (7), answers to promises (12, 13), but not the one that made the run fail.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT :to,
       CASE event.kind WHEN 6 THEN 'signal' WHEN 7 THEN 'update'
                       WHEN 12 THEN 'resolve' ELSE 'reject' END,
       CASE WHEN event.kind IN (6, 7) THEN event.name ELSE '' END,
       event.step,
       CASE event.kind WHEN 7 THEN event.arguments ELSE event.result END,
       (SELECT run.clock_us FROM durable_run AS run WHERE run.pk = :run) + event.at_us
  FROM durable_event AS event
 WHERE event.run = :run AND event.seq >= :from_seq AND event.seq <> :but
   AND event.kind IN (6, 7, 12, 13)
 ORDER BY event.seq

-- :name resend_letters
-- Signals that came too late for a run are sent again to the run that goes on from it.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT :to, 'signal', name, key, payload, at_us
  FROM durable_letter
 WHERE run = :run AND seq IS NULL
 ORDER BY id
