-- The first version of the file. Times are integer microseconds: `_us` columns count from the epoch
-- (UTC), except those of `event`, which count from the run's `clock_us` (4 bytes instead of 8 in
-- the row of which there are millions). Payload columns (ANY) hold JSON text, or the integer id of a
-- row in `blob` for payloads over 32 KiB. `v_runs`, `v_steps` and `v_events` are for people.

CREATE TABLE worker (
  id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: it is an offset in the lock file
  pid        INTEGER NOT NULL,
  host       TEXT    NOT NULL,
  started_us INTEGER NOT NULL,
  ended_us   INTEGER,
  state      TEXT    NOT NULL CHECK (state IN ('live', 'closed', 'dead')),
  workflows  TEXT    NOT NULL -- JSON list of the names it can run
) STRICT;

CREATE TABLE run (
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
  parent_pk    INTEGER,
  parent_step  TEXT,
  code         TEXT,
  created_us   INTEGER NOT NULL,
  started_us   INTEGER,          -- when its code first ran
  clock_us     INTEGER,          -- the zero of its events' times: a retried run keeps the first's
  closed_us    INTEGER,
  result       ANY,              -- the value, the failure's record, or the reason
  result_checksum INTEGER,
  origin       INTEGER,          -- the event that produced the failure, or 0
  UNIQUE (id, ordinal),
  CHECK ((closed_us IS NULL) = (state IN ('ready', 'parked', 'paused', 'blocked'))),
  CHECK (worker_id IS NULL OR closed_us IS NULL)
) STRICT;

CREATE INDEX run_claimable ON run (workflow, priority, pk)
 WHERE state = 'ready' AND worker_id IS NULL;
CREATE INDEX run_wake ON run (workflow, wake_at_us)
 WHERE state = 'parked' AND worker_id IS NULL AND wake_at_us IS NOT NULL;
CREATE INDEX run_owned ON run (worker_id) WHERE worker_id IS NOT NULL;
CREATE INDEX run_blocked ON run (workflow) WHERE state = 'blocked';
CREATE INDEX run_state ON run (state);
CREATE INDEX run_workflow ON run (workflow);

-- One row a fact. Kinds: 1 completed, 2 failed, 3 fired, 4 cancel requested, 5 patched.
CREATE TABLE event (
  run         INTEGER NOT NULL,
  seq         INTEGER NOT NULL CHECK (seq >= 1),
  kind        INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 5),
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

-- Pending steps that have something to remember: a retry, a long wait, an intent.
CREATE TABLE step (
  run          INTEGER NOT NULL,
  step         TEXT    NOT NULL,
  name         TEXT    NOT NULL,
  state        TEXT    NOT NULL CHECK (state IN ('running', 'retrying', 'intent', 'exhausted')),
  attempt      INTEGER NOT NULL CHECK (attempt >= 1), -- the one running, or coming next
  counted_from INTEGER NOT NULL DEFAULT 1, -- earlier ones do not count against max_attempts
  scheduled_us INTEGER NOT NULL,
  retry_at_us  INTEGER,
  details      TEXT,   -- what its last heartbeat said, as JSON
  error        TEXT,   -- one line of the last failure
  PRIMARY KEY (run, step)
) STRICT, WITHOUT ROWID;

-- Attempts that failed or were abandoned; a first attempt that succeeds has no row.
CREATE TABLE attempt (
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
CREATE TABLE inbox (
  id      INTEGER PRIMARY KEY AUTOINCREMENT,
  run     INTEGER NOT NULL,
  kind    TEXT    NOT NULL CHECK (kind IN ('cancel', 'terminate', 'retry')),
  payload TEXT    NOT NULL,
  at_us   INTEGER NOT NULL
) STRICT;

CREATE INDEX inbox_run ON inbox (run);

CREATE TABLE blob (
  id       INTEGER PRIMARY KEY,
  refs     INTEGER NOT NULL CHECK (refs >= 0),
  size     INTEGER NOT NULL, -- bytes before compression
  data     BLOB    NOT NULL  -- zlib
) STRICT;

CREATE VIEW v_runs AS
SELECT pk, id, ordinal, workflow, state, worker_id, queue, priority, cause, lost, arguments, result,
       waits, strftime('%Y-%m-%dT%H:%M:%fZ', created_us / 1e6, 'unixepoch') AS created,
       strftime('%Y-%m-%dT%H:%M:%fZ', started_us / 1e6, 'unixepoch') AS started,
       strftime('%Y-%m-%dT%H:%M:%fZ', closed_us / 1e6, 'unixepoch') AS closed,
       strftime('%Y-%m-%dT%H:%M:%fZ', wake_at_us / 1e6, 'unixepoch') AS wakes
  FROM run;

CREATE VIEW v_events AS
SELECT run.id AS run_id, run.ordinal, event.seq,
       CASE event.kind WHEN 1 THEN 'completed' WHEN 2 THEN 'failed' WHEN 3 THEN 'fired'
                       WHEN 4 THEN 'cancel_requested' WHEN 5 THEN 'patched' END AS kind,
       event.step, event.name, event.arguments, event.result,
       strftime('%Y-%m-%dT%H:%M:%fZ', (run.clock_us + event.at_us) / 1e6, 'unixepoch') AS at,
       event.took_us
  FROM event JOIN run ON run.pk = event.run;

CREATE VIEW v_steps AS
SELECT run_id, ordinal, step, name, kind AS state, at AS ended, took_us,
       NULL AS attempt, NULL AS error
  FROM v_events WHERE step <> '' AND kind IN ('completed', 'failed')
 UNION ALL
SELECT run.id, run.ordinal, step.step, step.name, step.state, NULL, NULL, step.attempt, step.error
  FROM step JOIN run ON run.pk = step.run;
