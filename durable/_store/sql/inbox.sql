-- :name insert_inbox
-- A request to an open run; the caller is answered when this is committed.
INSERT INTO inbox (run, kind, payload, at_us)
SELECT pk, :kind, :payload, :at_us
  FROM run
 WHERE pk = :run AND closed_us IS NULL
RETURNING id

-- :name list_inbox_of_worker
-- :scan allowed (the inbox holds only what nobody has taken yet)
-- Requests to the runs a worker owns, in the order they were committed.
SELECT inbox.id, inbox.run, inbox.kind, inbox.payload
  FROM inbox JOIN run ON run.pk = inbox.run
 WHERE run.worker_id = :worker AND inbox.id > :after
 ORDER BY inbox.id
 LIMIT :limit

-- :name list_inbox_of_run
-- Requests to one run, in the order they were committed.
SELECT id, run, kind, payload
  FROM inbox
 WHERE run = :run
 ORDER BY id

-- :name delete_inbox
-- :rows
-- :scan allowed (v is the list of values of this statement)
-- The request became an event in this transaction.
DELETE FROM inbox
 WHERE id IN (VALUES (?))
