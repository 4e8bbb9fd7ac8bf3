-- :name create_tally_on_insert
-- A run is there; one of its id that was the newest is not counted any more.
CREATE TEMP TRIGGER durable_tally_on_insert AFTER INSERT ON durable_run
WHEN NOT EXISTS (SELECT 1 FROM durable_run AS newer
                  WHERE newer.id = NEW.id AND newer.ordinal > NEW.ordinal)
BEGIN
  INSERT INTO durable_tally (workflow, state, kind, runs)
  VALUES (NEW.workflow, NEW.state, COALESCE(NEW.wait_kind, ''), 1)
      ON CONFLICT (workflow, state, kind) DO UPDATE SET runs = runs + 1;
  UPDATE durable_tally
     SET runs = runs - 1
   WHERE NEW.ordinal > 1
     AND (workflow, state, kind) = (SELECT older.workflow, older.state, COALESCE(older.wait_kind, '')
                                      FROM durable_run AS older
                                     WHERE older.id = NEW.id AND older.ordinal < NEW.ordinal
                                     ORDER BY older.ordinal DESC
                                     LIMIT 1);
END

-- :name create_tally_on_update
-- A run has another state, or waits for something else.
CREATE TEMP TRIGGER durable_tally_on_update AFTER UPDATE OF state, waits ON durable_run
WHEN (OLD.state <> NEW.state OR OLD.wait_kind IS NOT NEW.wait_kind)
     AND NOT EXISTS (SELECT 1 FROM durable_run AS newer
                      WHERE newer.id = NEW.id AND newer.ordinal > NEW.ordinal)
BEGIN
  UPDATE durable_tally
     SET runs = runs - 1
   WHERE workflow = OLD.workflow AND state = OLD.state AND kind = COALESCE(OLD.wait_kind, '');
  INSERT INTO durable_tally (workflow, state, kind, runs)
  VALUES (NEW.workflow, NEW.state, COALESCE(NEW.wait_kind, ''), 1)
      ON CONFLICT (workflow, state, kind) DO UPDATE SET runs = runs + 1;
END

-- :name create_tally_on_delete
-- A run is deleted; the ordinal before it is the newest again.
CREATE TEMP TRIGGER durable_tally_on_delete AFTER DELETE ON durable_run
WHEN NOT EXISTS (SELECT 1 FROM durable_run AS newer
                  WHERE newer.id = OLD.id AND newer.ordinal > OLD.ordinal)
BEGIN
  UPDATE durable_tally
     SET runs = runs - 1
   WHERE workflow = OLD.workflow AND state = OLD.state AND kind = COALESCE(OLD.wait_kind, '');
  INSERT INTO durable_tally (workflow, state, kind, runs)
  SELECT older.workflow, older.state, COALESCE(older.wait_kind, ''), 1
    FROM durable_run AS older
   WHERE older.id = OLD.id AND older.ordinal < OLD.ordinal
   ORDER BY older.ordinal DESC
   LIMIT 1
      ON CONFLICT (workflow, state, kind) DO UPDATE SET runs = runs + 1;
END

-- :name count_by_state
-- :scan allowed (a few rows for each workflow)
-- Runs of which no newer ordinal exists, by stored state and by what the parked ones wait for.
SELECT state, kind, CAST(TOTAL(runs) AS INTEGER)
  FROM durable_tally
 GROUP BY state, kind
 ORDER BY state, kind

-- :name count_by_state_of_workflow
-- The same of one workflow.
SELECT state, kind, runs
  FROM durable_tally
 WHERE workflow = :workflow
 ORDER BY state, kind

-- :name list_miscounted
-- :scan allowed (it is what the counts are compared with; asked by hand)
-- Where the counts are not what a walk over all runs finds, at one moment; there is no such place.
WITH counted AS (
  SELECT workflow, state, COALESCE(wait_kind, '') AS kind, COUNT(*) AS runs
    FROM durable_run AS run INDEXED BY durable_run_workflow
   WHERE NOT EXISTS (SELECT 1 FROM durable_run AS newer
                      WHERE newer.id = run.id AND newer.ordinal > run.ordinal)
   GROUP BY 1, 2, 3
), kept AS (
  SELECT workflow, state, kind, runs FROM durable_tally WHERE runs <> 0
)
SELECT workflow, state, kind FROM (SELECT workflow, state, kind, runs FROM counted
                                   EXCEPT
                                   SELECT workflow, state, kind, runs FROM kept)
 UNION
SELECT workflow, state, kind FROM (SELECT workflow, state, kind, runs FROM kept
                                   EXCEPT
                                   SELECT workflow, state, kind, runs FROM counted)
