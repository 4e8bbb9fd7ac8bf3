-- :name list_ordinals
-- Every ordinal of an id.
SELECT pk
  FROM durable_run
 WHERE id = :id
 ORDER BY ordinal

-- :name list_keys_of_children
-- The keys of the runs that a run started.
SELECT pk
  FROM durable_run
 WHERE parent_pk = :parent

-- :name page_steps
-- What a run's pending steps remember, from a place on.
SELECT step, name, state, attempt, counted_from, scheduled_us, started_us, retry_at_us,
       fingerprint, arguments, details, error
  FROM durable_step
 WHERE run = :run AND step > :step
 ORDER BY step
 LIMIT :limit

-- :name page_attempts
-- A run's failed attempts, from a place on: each has a whole traceback.
SELECT step, attempt, name, state, started_us, ended_us, error
  FROM durable_attempt
 WHERE run = :run AND (step, attempt) > (:step, :attempt)
 ORDER BY step, attempt
 LIMIT :limit

-- :name page_values
-- What a run has published, from a place on.
SELECT name, payload, checksum, at_us
  FROM durable_value
 WHERE run = :run AND name > :name
 ORDER BY name
 LIMIT :limit

-- :name page_items
-- The items of all streams of a run, from a place on.
SELECT stream, position, step, attempt, number, seq, payload, checksum, at_us
  FROM durable_item
 WHERE run = :run AND (stream, position) > (:stream, :position)
 ORDER BY stream, position
 LIMIT :limit

-- :name page_answers
-- How a run's updates ended, from a place on.
SELECT key, name, state, result, at_us
  FROM durable_answer
 WHERE run = :run AND key > :key
 ORDER BY key
 LIMIT :limit

-- :name page_letters
-- A run's dead letters, from a place on.
SELECT id, seq, name, key, payload, why, at_us
  FROM durable_letter INDEXED BY durable_letter_run
 WHERE run = :run AND id > :id
 ORDER BY id
 LIMIT :limit

-- :name page_once
-- The steps of a run that run at most once and were begun, from a place on.
SELECT step
  FROM durable_once
 WHERE run = :run AND step > :step
 ORDER BY step
 LIMIT :limit

-- :name page_redone
-- The steps of a run that completed in an earlier ordinal and are done again, from a place on.
SELECT step, ordinal
  FROM durable_redone
 WHERE run = :run AND step > :step
 ORDER BY step
 LIMIT :limit

-- :name page_accepted
-- The recorded ends of a run that a person let pass, from a place on.
SELECT step
  FROM durable_accepted
 WHERE run = :run AND step > :step
 ORDER BY step
 LIMIT :limit

-- :name page_policies
-- What a person changed of the policies of a run's steps, from a place on.
SELECT step, changes
  FROM durable_policy
 WHERE run = :run AND step > :step
 ORDER BY step
 LIMIT :limit

-- :name insert_imported_policy
-- :rows
-- What a person changed of the policy of a step of an imported run.
INSERT INTO durable_policy (run, step, changes)
VALUES (?, ?, ?)

-- :name find_accepted_end
-- Whether the end of the run itself is let pass: redaction has hidden its result before.
SELECT step
  FROM durable_accepted
 WHERE run = :run AND step = ''

-- :name page_audit
-- What was done to a run, from a place on.
SELECT id, verb, who, why, details, at_us
  FROM durable_audit INDEXED BY durable_audit_run
 WHERE run = :run AND id > :id
 ORDER BY id
 LIMIT :limit

-- :name page_child_ends
-- Ends of children that a run was told of and has not taken, from a place on.
SELECT id, key, payload
  FROM durable_inbox INDEXED BY durable_inbox_run
 WHERE run = :run AND id > :id AND kind = 'child'
 ORDER BY id
 LIMIT :limit

-- :name insert_imported_run
-- A run of another file, under a key that was free: nobody holds it.
INSERT INTO durable_run (pk, id, ordinal, workflow, state, waits, queue, priority, headers, salt, arguments,
                 fingerprint, checksum, cause, code, created_us, started_us, clock_us, closed_us,
                 result, result_checksum, origin, root_pk, parent_pk, parent_step, on_parent_close,
                 deadline_us, run_timeout_us, source_pk, redo_seq, adopts, labels, error)
VALUES (:pk, :id, :ordinal, :workflow, :state, :waits, :queue, :priority, :headers, :salt,
        :arguments, :fingerprint, :checksum, :cause, :code, :created_us, :started_us, :clock_us,
        :closed_us, :result, :result_checksum, :origin, :root, :parent, :parent_step,
        :on_parent_close, :deadline_us, :run_timeout_us, :source, :redo_seq, :adopts, :labels,
        :error)

-- :name insert_imported_step
-- :rows
-- What a pending step of an imported run remembers, its counted attempts too.
INSERT INTO durable_step (run, step, name, state, attempt, counted_from, scheduled_us, started_us,
                  retry_at_us, fingerprint, arguments, details, error)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- :name insert_imported_redone
-- :rows
-- A step of an imported run that is done again keeps its key.
INSERT INTO durable_redone (run, step, ordinal)
VALUES (?, ?, ?)

-- :name insert_imported_accepted
-- :rows
-- A recorded end of an imported run that is let pass; redaction may say so of one that was already.
INSERT INTO durable_accepted (run, step)
VALUES (?, ?)
    ON CONFLICT (run, step) DO NOTHING

-- :name get_name_as_found
-- How a damaged run is called: its id as bytes, for it may be no text.
SELECT CAST(id AS BLOB), ordinal
  FROM durable_run
 WHERE pk = :pk
