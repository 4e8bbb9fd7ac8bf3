-- The first version of the file. Times are integer microseconds: `_us` columns count from the epoch
-- (UTC), except those of `event`, which count from the run's `clock_us` (4 bytes instead of 8 in
-- the row of which there are millions). Payload columns (ANY) hold JSON text, or the integer id of a
-- row in `blob` for payloads over 32 KiB. `durable_runs`, `durable_steps` and `durable_events` are for people.

-- What is true of the file as a whole: `generation`, the number of this very file, which a backup has
-- another of; `logs`, how many logs of it were begun; `secret`, what promise tokens are keyed with.
CREATE TABLE durable_meta (
  name  TEXT PRIMARY KEY,
  value ANY  NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO durable_meta VALUES ('generation', random()), ('logs', 0), ('secret', randomblob(32));

CREATE TABLE durable_worker (
  id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: it is an offset in the lock file
  pid        INTEGER NOT NULL,
  host       TEXT    NOT NULL,
  started_us INTEGER NOT NULL,
  ended_us   INTEGER,
  state      TEXT    NOT NULL CHECK (state IN ('live', 'closed', 'dead')),
  workflows  TEXT    NOT NULL -- JSON list of the names it can run
) STRICT;

CREATE TABLE durable_run (
  pk           INTEGER PRIMARY KEY,
  id           TEXT    NOT NULL,
  ordinal      INTEGER NOT NULL CHECK (ordinal >= 1),
  workflow     TEXT    NOT NULL,
  state        TEXT    NOT NULL CHECK (state IN (
                 'ready', 'parked', 'paused', 'blocked',
                 'completed', 'failed', 'cancelled', 'terminated', 'continued')),
  worker_id    INTEGER,
  wake_at_us   INTEGER,          -- parked: when a timer or a retry comes due
  waits        TEXT,             -- parked, paused, blocked: why, as JSON
  lost         INTEGER NOT NULL DEFAULT 0, -- workers that died in a row while it had work in hand
  alone        INTEGER NOT NULL DEFAULT 0 CHECK (alone IN (0, 1)), -- an attempt runs, and no other's
  queue        TEXT    NOT NULL,
  priority     INTEGER NOT NULL,
  headers      TEXT,
  salt         INTEGER NOT NULL,
  arguments    ANY     NOT NULL,
  fingerprint  INTEGER NOT NULL,
  checksum     INTEGER NOT NULL, -- of the arguments
  cause        TEXT    NOT NULL CHECK (cause IN ('started', 'restarted', 'retried', 'continued')),
  code         TEXT,
  created_us   INTEGER NOT NULL,
  started_us   INTEGER,          -- when a worker first took it; before that wake_at_us is when it may begin
  begun        INTEGER NOT NULL DEFAULT 0 CHECK (begun IN (0, 1)), -- its first drain was done: what
                                 -- is done of it without an event is done again, not decided again
  clock_us     INTEGER,          -- the zero of its events' times: a retried run keeps the first's
  closed_us    INTEGER,
  result       ANY,              -- the value, the failure's record, or the reason
  result_checksum INTEGER,
  origin       INTEGER,          -- the event that produced the failure, or 0
  root_pk      INTEGER,          -- a child's: the run at the top of its family
  parent_pk    INTEGER,          -- a child's: the run that started it
  parent_step  TEXT,             -- where its end is delivered in its parent; NULL: nowhere
  on_parent_close TEXT CHECK (on_parent_close IN ('abandon', 'cancel', 'terminate')),
  deadline_us  INTEGER,          -- when its run_timeout is over, or its parent's
  run_timeout_us INTEGER,        -- from its begin; each ordinal has the whole of it
  source_pk    INTEGER,          -- the run that this one goes on from
  redo_seq     INTEGER,          -- the event whose drain this run has not done: it is done anew
  adopts       INTEGER NOT NULL DEFAULT 1 CHECK (adopts IN (0, 1)), -- goes on with its children
  labels       TEXT,             -- tags and attributes: JSON, [["tag","urgent"],["attr.vip",true]]
  error        TEXT,             -- what went wrong last, in one line
  issue        INTEGER,          -- the group of like failures it belongs to
  -- Parked; or ready while all of it waits for places, or when it just waited as its worker stopped:
  -- what it is shown as. So lists by status go along an index.
  wait_kind    TEXT AS (CASE WHEN state NOT IN ('parked', 'ready') THEN NULL
                             WHEN json_valid(waits)
                              AND waits ->> '$.kind'
                                  IN ('queued', 'retrying', 'waiting', 'sleeping')
                             THEN waits ->> '$.kind'
                             WHEN state = 'parked' THEN 'sleeping' END) VIRTUAL,
  UNIQUE (id, ordinal),
  CHECK ((closed_us IS NULL) = (state IN ('ready', 'parked', 'paused', 'blocked'))),
  CHECK (worker_id IS NULL OR closed_us IS NULL)
) STRICT;

CREATE INDEX durable_run_claimable ON durable_run (workflow, priority, pk)
 WHERE state = 'ready' AND worker_id IS NULL;
CREATE INDEX durable_run_wake ON durable_run (workflow, wake_at_us)
 WHERE state = 'parked' AND worker_id IS NULL AND wake_at_us IS NOT NULL;
CREATE INDEX durable_run_soonest ON durable_run (wake_at_us, workflow)
 WHERE state = 'parked' AND worker_id IS NULL AND wake_at_us IS NOT NULL;
CREATE INDEX durable_run_owned ON durable_run (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX durable_run_blocked ON durable_run (workflow) WHERE state = 'blocked';
CREATE INDEX durable_run_state ON durable_run (state, wait_kind);
CREATE INDEX durable_run_started ON durable_run (started_us) WHERE started_us IS NOT NULL;
CREATE INDEX durable_run_closed ON durable_run (closed_us) WHERE closed_us IS NOT NULL;
CREATE INDEX durable_run_workflow ON durable_run (workflow);
CREATE INDEX durable_run_issue ON durable_run (issue) WHERE issue IS NOT NULL;
CREATE INDEX durable_run_source ON durable_run (source_pk) WHERE source_pk IS NOT NULL;
CREATE INDEX durable_run_parent ON durable_run (parent_pk, parent_step) WHERE parent_pk IS NOT NULL;

-- How many runs there are of which no newer ordinal exists, kept up by each writer's own triggers in
-- the transaction that changes them: a list of a million runs shows its counts at once.
CREATE TABLE durable_tally (
  workflow TEXT    NOT NULL,
  state    TEXT    NOT NULL, -- as of run
  kind     TEXT    NOT NULL, -- its wait_kind, or ''
  runs     INTEGER NOT NULL,
  PRIMARY KEY (workflow, state, kind)
) STRICT, WITHOUT ROWID;

-- Tags (name: tag) and attributes (name: attr.NAME), as runs were started with them.
CREATE TABLE durable_label (
  name  TEXT    NOT NULL,
  value ANY     NOT NULL, -- text or number; true and false are texts here
  run   INTEGER NOT NULL,
  PRIMARY KEY (name, value, run)
) STRICT, WITHOUT ROWID;

CREATE INDEX durable_label_run ON durable_label (run);

-- One row a fact. Kinds: 1 completed, 2 failed, 3 fired, 4 cancel requested, 5 patched, 6 received,
-- 7 update accepted, 8 child completed, 9 child failed, 10 acted, 11 refused, 12 resolved,
-- 13 rejected, 14 timed out.
CREATE TABLE durable_event (
  run         INTEGER NOT NULL,
  seq         INTEGER NOT NULL CHECK (seq >= 1),
  kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 14),
  step        TEXT    NOT NULL,
  name        TEXT    NOT NULL,
  fingerprint INTEGER NOT NULL,
  arguments   ANY     NOT NULL,
  result      ANY     NOT NULL,
  checksum    INTEGER NOT NULL, -- of arguments and result
  at_us       INTEGER NOT NULL CHECK (at_us >= 0), -- from the run's clock_us
  took_us     INTEGER NOT NULL CHECK (took_us >= 0),
  PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- Messages are sent once: the ids of those that became events.
CREATE INDEX durable_event_message ON durable_event (run, step) WHERE kind IN (6, 7, 12, 13);

-- Pending steps that have something to remember, or wait or run for longer than a second.
CREATE TABLE durable_step (
  run          INTEGER NOT NULL,
  step         TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  state        TEXT    NOT NULL CHECK (state IN (
                 'queued', 'running', 'retrying', 'intent', 'exhausted', 'later')),
  attempt      INTEGER NOT NULL CHECK (attempt >= 1), -- the one running, or coming next
  counted_from INTEGER NOT NULL DEFAULT 1, -- earlier ones do not count against max_attempts
  scheduled_us INTEGER NOT NULL,
  started_us   INTEGER, -- when the attempt began that runs, or to wait for its place or its token
  retry_at_us  INTEGER,
  fingerprint  INTEGER NOT NULL, -- of the arguments as passed
  arguments    TEXT,   -- as passed; NULL over 32 KiB
  details      TEXT,   -- what its last heartbeat said, as JSON
  error        TEXT,   -- one line of the last failure
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- Steps that run at most once, and were begun: they are not made again unless somebody says so.
CREATE TABLE durable_once (
  run  INTEGER NOT NULL,
  step TEXT    NOT NULL,
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- Steps that completed in an earlier ordinal and are done again: calls with keys of their own.
CREATE TABLE durable_redone (
  run     INTEGER NOT NULL,
  step    TEXT    NOT NULL,
  ordinal INTEGER NOT NULL, -- the one that did it again
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- What a person changed of the policies of pending steps.
CREATE TABLE durable_policy (
  run     INTEGER NOT NULL,
  step    TEXT    NOT NULL,
  changes TEXT    NOT NULL, -- JSON
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- Recorded ends that a person let pass although the code now asks with other arguments; '' is that
-- of the run itself, whose result was redacted.
CREATE TABLE durable_accepted (
  run  INTEGER NOT NULL,
  step TEXT    NOT NULL,
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- Which code went through a run's events, where that is not the one it began with: from one event on
-- until the next row.
CREATE TABLE durable_code_span (
  run      INTEGER NOT NULL,
  from_seq INTEGER NOT NULL,
  code     TEXT    NOT NULL, -- the fingerprint of the workflow's source
  at_us    INTEGER NOT NULL,
  PRIMARY KEY (run, from_seq)
) STRICT, WITHOUT ROWID;

-- The source of workflows' code, by fingerprint; it stays when runs go, for it is small.
CREATE TABLE durable_source (
  code     TEXT    PRIMARY KEY,
  workflow TEXT    NOT NULL,
  text     TEXT    NOT NULL,
  file     TEXT    NOT NULL,
  line     INTEGER NOT NULL,
  at_us    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What code said through Python's logging.
CREATE TABLE durable_log (
  id      INTEGER PRIMARY KEY,
  run     INTEGER NOT NULL,
  at_us   INTEGER NOT NULL,
  level   INTEGER NOT NULL,
  logger  TEXT    NOT NULL,
  step    TEXT    NOT NULL, -- empty: the workflow's own
  attempt INTEGER NOT NULL,
  text    TEXT    NOT NULL
) STRICT;

CREATE INDEX durable_log_run ON durable_log (run, id);

-- Like failures, grouped.
CREATE TABLE durable_issue (
  id          INTEGER PRIMARY KEY,
  fingerprint TEXT    NOT NULL UNIQUE,
  kind        TEXT    NOT NULL CHECK (kind IN ('failed', 'retrying', 'blocked', 'watchdog')),
  type        TEXT    NOT NULL, -- of the error, or why runs are blocked
  title       TEXT    NOT NULL,
  function    TEXT    NOT NULL,
  place       TEXT    NOT NULL, -- a file
  sample      TEXT    NOT NULL, -- the newest traceback or reason
  sample_run  INTEGER NOT NULL,
  state       TEXT    NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'resolved', 'muted')),
  seen        INTEGER NOT NULL DEFAULT 1,
  first_us    INTEGER NOT NULL,
  last_us     INTEGER NOT NULL
) STRICT;

CREATE INDEX durable_issue_last ON durable_issue (last_us);

-- How often an issue came up, by workflow, code and hour.
CREATE TABLE durable_issue_count (
  fingerprint TEXT    NOT NULL,
  hour        INTEGER NOT NULL, -- since the epoch
  workflow    TEXT    NOT NULL,
  code        TEXT    NOT NULL,
  seen        INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (fingerprint, hour, workflow, code)
) STRICT, WITHOUT ROWID;

-- Workflows and queues that a person stopped: what is started of them is paused.
CREATE TABLE durable_hold (
  kind  TEXT    NOT NULL CHECK (kind IN ('workflow', 'queue')),
  name  TEXT    NOT NULL,
  who   TEXT    NOT NULL,
  why   TEXT    NOT NULL,
  at_us INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What somebody is to be told: a group that is new, or came up again after it was resolved. One at a
-- time of each; a row goes when it was told.
CREATE TABLE durable_alert (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  fingerprint TEXT    NOT NULL UNIQUE,
  what        TEXT    NOT NULL CHECK (what IN ('new', 'regressed')),
  run         INTEGER NOT NULL,
  worker_id   INTEGER,          -- who tells it
  at_us       INTEGER NOT NULL
) STRICT;

-- Acts on many runs: done in chunks, by whoever serves the file.
CREATE TABLE durable_job (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  verb       TEXT    NOT NULL CHECK (verb <> ''), -- of durable/verbs.py
  query      TEXT    NOT NULL, -- the filter, as it was said
  details    TEXT    NOT NULL, -- JSON: what else was said
  who        TEXT    NOT NULL,
  why        TEXT    NOT NULL,
  state      TEXT    NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'stopped')),
  total      INTEGER NOT NULL, -- runs that matched when it was asked for
  upto       INTEGER NOT NULL, -- the newest run of then: later ones are no concern of it
  after      INTEGER NOT NULL DEFAULT 0, -- runs up to this one were looked at
  done       INTEGER NOT NULL DEFAULT 0,
  refused    INTEGER NOT NULL DEFAULT 0,
  created_us INTEGER NOT NULL, -- what "two hours ago" in the filter is counted from
  ended_us   INTEGER
) STRICT;

CREATE INDEX durable_job_running ON durable_job (id) WHERE state = 'running';

-- Runs for which the act was refused, and why.
CREATE TABLE durable_job_refusal (
  job INTEGER NOT NULL,
  run INTEGER NOT NULL,
  why TEXT    NOT NULL,
  PRIMARY KEY (job, run)
) STRICT, WITHOUT ROWID;

-- Who repaired what, when and why.
CREATE TABLE durable_audit (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  run     INTEGER,          -- NULL: of no single run
  verb    TEXT    NOT NULL,
  who     TEXT    NOT NULL,
  why     TEXT    NOT NULL,
  details TEXT    NOT NULL, -- JSON: what else was said
  at_us   INTEGER NOT NULL
) STRICT;

CREATE INDEX durable_audit_run ON durable_audit (run, id);

-- Attempts that failed or were abandoned; a first attempt that succeeds has no row.
CREATE TABLE durable_attempt (
  run        INTEGER NOT NULL,
  step       TEXT    NOT NULL,
  attempt    INTEGER NOT NULL CHECK (attempt >= 1),
  name       TEXT    NOT NULL,
  state      TEXT    NOT NULL CHECK (state IN ('failed', 'abandoned')),
  started_us INTEGER NOT NULL,
  ended_us   INTEGER NOT NULL,
  error      TEXT    NOT NULL, -- the failure's record, with its whole traceback
  PRIMARY KEY (run, step, attempt)
) STRICT, WITHOUT ROWID;

-- What others ask of a run; its owner turns rows into events, in order, and deletes them.
CREATE TABLE durable_inbox (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  run     INTEGER NOT NULL,
  kind    TEXT    NOT NULL CHECK (kind IN (
            'cancel', 'terminate', 'retry', 'signal', 'update', 'query', 'child', 'resolve',
            'reject', 'restart', 'pause', 'resume', 'skip', 'fail', 'edit')),
  name    TEXT    NOT NULL, -- of the signal, update or query
  key     TEXT    NOT NULL, -- the message's id, or the step it answers; or empty
  payload ANY     NOT NULL,
  at_us   INTEGER NOT NULL
) STRICT;

CREATE INDEX durable_inbox_run ON durable_inbox (run, id);
CREATE INDEX durable_inbox_key ON durable_inbox (run, key) WHERE key <> '';

-- How updates and queries ended, for whoever asked. Of updates kept with the run.
CREATE TABLE durable_answer (
  run     INTEGER NOT NULL,
  key     TEXT    NOT NULL, -- the update's or query's id
  name    TEXT    NOT NULL,
  state   TEXT    NOT NULL CHECK (state IN ('completed', 'failed', 'refused', 'abandoned')),
  result  ANY     NOT NULL, -- the value, or the record of the error
  at_us   INTEGER NOT NULL,
  PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

-- Signals that nobody received: their type did not fit, or the run had ended.
CREATE TABLE durable_letter (
  id      INTEGER PRIMARY KEY,
  run     INTEGER NOT NULL,
  seq     INTEGER,          -- its event, if it became one
  name    TEXT    NOT NULL,
  key     TEXT    NOT NULL,
  payload ANY     NOT NULL,
  why     TEXT    NOT NULL,
  at_us   INTEGER NOT NULL
) STRICT;

CREATE INDEX durable_letter_run ON durable_letter (run);
CREATE UNIQUE INDEX durable_letter_seq ON durable_letter (run, seq) WHERE seq IS NOT NULL;

-- Published values: the newest of each name.
CREATE TABLE durable_value (
  run      INTEGER NOT NULL,
  name     TEXT    NOT NULL,
  payload  ANY     NOT NULL,
  checksum INTEGER NOT NULL,
  at_us    INTEGER NOT NULL,
  PRIMARY KEY (run, name)
) STRICT, WITHOUT ROWID;

-- Streams: what runs and their activities append.
CREATE TABLE durable_item (
  run      INTEGER NOT NULL,
  stream   TEXT    NOT NULL,
  position INTEGER NOT NULL CHECK (position >= 0),
  step     TEXT    NOT NULL, -- who appended it
  attempt  INTEGER NOT NULL, -- 0: the workflow itself
  number   INTEGER NOT NULL, -- of the item in its attempt, from 0: one made again begins again
  seq      INTEGER NOT NULL, -- events of the run so far
  payload  ANY     NOT NULL,
  checksum INTEGER NOT NULL,
  at_us    INTEGER NOT NULL,
  PRIMARY KEY (run, stream, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE durable_blob (
  id       INTEGER PRIMARY KEY,
  refs     INTEGER NOT NULL CHECK (refs >= 0),
  size     INTEGER NOT NULL, -- bytes before compression
  data     BLOB    NOT NULL  -- zlib
) STRICT;

CREATE INDEX durable_blob_free ON durable_blob (id) WHERE refs = 0;

CREATE VIEW durable_runs AS
SELECT pk, id, ordinal, workflow, state, worker_id, queue, priority, cause, lost, arguments, result,
       waits, parent_pk, strftime('%Y-%m-%dT%H:%M:%fZ', created_us / 1e6, 'unixepoch') AS created,
       strftime('%Y-%m-%dT%H:%M:%fZ', started_us / 1e6, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%fZ', closed_us / 1e6, 'unixepoch') AS closed,
       strftime('%Y-%m-%dT%H:%M:%fZ', wake_at_us / 1e6, 'unixepoch') AS wakes
  FROM durable_run;

CREATE VIEW durable_events AS
SELECT run.id AS run_id, run.ordinal, event.seq,
       CASE event.kind WHEN 1 THEN 'completed' WHEN 2 THEN 'failed' WHEN 3 THEN 'fired'
                       WHEN 4 THEN 'cancel_requested' WHEN 5 THEN 'patched'
                       WHEN 6 THEN 'received' WHEN 7 THEN 'update_accepted'
                       WHEN 8 THEN 'child_completed' WHEN 9 THEN 'child_failed'
                       WHEN 10 THEN 'acted' WHEN 11 THEN 'refused' WHEN 12 THEN 'resolved'
                       WHEN 13 THEN 'rejected' WHEN 14 THEN 'timed_out' END AS kind,
       event.step, event.name, event.arguments, event.result,
       strftime('%Y-%m-%dT%H:%M:%fZ', (run.clock_us + event.at_us) / 1e6, 'unixepoch') AS at,
       event.took_us
  FROM durable_event AS event JOIN durable_run AS run ON run.pk = event.run;

CREATE VIEW durable_steps AS
SELECT run_id, ordinal, step, name, kind AS state, at AS ended, took_us,
       NULL AS attempt, NULL AS error
  FROM durable_events WHERE step <> '' AND kind IN ('completed', 'failed')
 UNION ALL
SELECT run.id, run.ordinal, step.step, step.name, step.state, NULL, NULL, step.attempt, step.error
  FROM durable_step AS step JOIN durable_run AS run ON run.pk = step.run;
