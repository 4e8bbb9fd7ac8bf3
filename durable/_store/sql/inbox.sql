-- :name insert_inbox
-- A request to an open run; the caller is answered when this is committed.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT pk, :kind, :name, :key, :payload, :at_us
  FROM durable_run
 WHERE pk = :run AND closed_us IS NULL
RETURNING id

-- :name insert_child_ends
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- Children ended: their parents hear of it, if they are open. Whose child a run is stands in the
-- file: a retried parent may have adopted it since its worker read its row.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT parent.pk, 'child', '', child.parent_step, CAST(child.pk AS TEXT), v.column2
  FROM (VALUES (?, ?)) AS v
  JOIN durable_run AS child ON child.pk = v.column1
  JOIN durable_run AS parent ON parent.pk = child.parent_pk
 WHERE parent.closed_us IS NULL AND child.parent_step IS NOT NULL

-- :name cancel_children
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- The code of a run no longer waits for a child: the child is asked to stop.
INSERT INTO durable_inbox (run, kind, name, key, payload, at_us)
SELECT run.pk, 'cancel', '', '', v.column3, v.column4
  FROM (VALUES (?, ?, ?, ?)) AS v
  JOIN durable_run AS run ON run.parent_pk = v.column1 AND run.parent_step = v.column2
 WHERE run.closed_us IS NULL

-- :name wake_children
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- Parked children that were asked to stop are looked at again.
UPDATE durable_run
   SET state = 'ready', wake_at_us = NULL, waits = NULL
 WHERE (parent_pk, parent_step) IN (VALUES (?, ?)) AND started_us IS NOT NULL
   AND (state = 'parked' OR (state = 'ready' AND worker_id IS NULL AND waits IS NOT NULL))

-- :name find_message
-- Whether a message of this id has come to the ordinals that go on from each other: it waits, or
-- became an event. One that began anew has heard nothing of what was said before.
SELECT 1
  FROM durable_run AS run JOIN durable_inbox AS inbox ON inbox.run = run.pk
 WHERE run.id = :id AND run.ordinal BETWEEN :first AND :last
   AND inbox.key = :key AND inbox.kind = :kind
 UNION ALL
SELECT 1
  FROM durable_run AS run JOIN durable_event AS event ON event.run = run.pk
 WHERE run.id = :id AND run.ordinal BETWEEN :first AND :last
   AND event.step = :key AND event.kind IN (6, 7, 12, 13) AND event.kind = :event_kind
 UNION ALL
SELECT 1
  FROM durable_run AS run JOIN durable_answer AS answer ON answer.run = run.pk
 WHERE run.id = :id AND run.ordinal BETWEEN :first AND :last
   AND answer.key = :key AND :kind = 'update'

-- :name list_inbox_of_worker
-- :scan allowed (the inbox holds only what nobody has taken yet)
-- Requests to the runs a worker owns, in the order they were committed.
SELECT inbox.id, inbox.run, inbox.kind, inbox.name, inbox.key, inbox.payload, inbox.at_us
  FROM durable_inbox AS inbox JOIN durable_run AS run ON run.pk = inbox.run
 WHERE run.worker_id = :worker AND inbox.id > :after
 ORDER BY inbox.id
 LIMIT :limit

-- :name list_inbox_of_run
-- Requests to one run, in the order they were committed.
SELECT id, run, kind, name, key, payload, at_us
  FROM durable_inbox
 WHERE run = :run
 ORDER BY id

-- :name delete_inbox
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- The request became an event in this transaction.
DELETE FROM durable_inbox
 WHERE id IN (VALUES (?))

-- :name bury_inbox_of_runs
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- Signals that came too late for runs that end: kept as dead letters.
INSERT INTO durable_letter (run, seq, name, key, payload, why, at_us)
SELECT run, NULL, name, key, payload, 'the run ended before it was received', at_us
  FROM durable_inbox
 WHERE run IN (VALUES (?)) AND kind = 'signal'
 ORDER BY id

-- :name abandon_updates_of_runs
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- Updates nobody took before their runs ended.
INSERT INTO durable_answer (run, key, name, state, result, at_us)
SELECT run, key, name, 'abandoned', 'null', at_us
  FROM durable_inbox
 WHERE run IN (VALUES (?)) AND kind = 'update'
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
       run.clock_us + event.at_us
  FROM durable_event AS event JOIN durable_run AS run ON run.pk = event.run
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
