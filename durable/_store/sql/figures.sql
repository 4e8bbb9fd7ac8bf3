-- :name count_by_hour
-- :scan allowed (every run's row is read once: about a second for a million; no index on times is
-- :kept up at each start and end for a question that people ask now and then)
-- Runs by state and by the hours, since the epoch, in which they were made and ended; NULL where that
-- is before a time, or has not been.
SELECT CASE WHEN created_us >= :since_us THEN created_us / 3600000000 END AS created,
       CASE WHEN closed_us >= :since_us THEN closed_us / 3600000000 END AS closed,
       state, COUNT(*)
  FROM durable_run NOT INDEXED
 WHERE created_us >= :since_us OR closed_us >= :since_us
 GROUP BY 1, 2, 3

-- :name list_durations_of_workflows
-- :scan allowed (of the runs that ended since)
-- By workflow, of the runs that ended since a time: how many, how many completed and failed, and the
-- nearest ranks of the 50th and 95th of a hundred of how long they took. The busiest first.
SELECT CAST(workflow AS BLOB), COUNT(*), SUM(state = 'completed'), SUM(state = 'failed'),
       MAX(CASE WHEN place = (timed * 50 + 99) / 100 THEN took_us END),
       MAX(CASE WHEN place = (timed * 95 + 99) / 100 THEN took_us END)
  FROM (SELECT workflow, state, closed_us - started_us AS took_us,
               ROW_NUMBER() OVER (PARTITION BY workflow
                                  ORDER BY closed_us - started_us NULLS LAST) AS place,
               COUNT(started_us) OVER (PARTITION BY workflow) AS timed
          FROM durable_run INDEXED BY durable_run_closed
         WHERE closed_us >= :since_us)
 GROUP BY 1
 ORDER BY 2 DESC, 1
 LIMIT :limit

-- :name list_durations_of_activities
-- :scan allowed (every run's row is read once, and the histories of those that were open since)
-- :plan may turn (to one more pass over what is read anyhow)
-- By activity, of the steps that ended since a time: as above, of the attempts that ended them.
SELECT CAST(name AS BLOB), COUNT(*), SUM(kind = 1), SUM(kind = 2),
       MAX(CASE WHEN place = (timed * 50 + 99) / 100 THEN took_us END),
       MAX(CASE WHEN place = (timed * 95 + 99) / 100 THEN took_us END)
  FROM (SELECT event.name, event.kind, event.took_us,
               ROW_NUMBER() OVER (PARTITION BY event.name ORDER BY event.took_us) AS place,
               COUNT(*) OVER (PARTITION BY event.name) AS timed
          FROM durable_run AS run CROSS JOIN durable_event AS event
         WHERE (run.closed_us IS NULL OR run.closed_us >= :since_us)
           AND event.run = run.pk AND event.kind IN (1, 2)
           AND COALESCE(run.clock_us, run.created_us) + event.at_us >= :since_us)
 GROUP BY 1
 ORDER BY 2 DESC, 1
 LIMIT :limit

-- :name get_sizes
-- :scan allowed (of the blobs their lengths; of the histories their ends, one look for each run)
-- How much there is: runs, events, and blobs with their bytes. Numbers of events have no gaps.
SELECT (SELECT COUNT(*) FROM durable_run AS run),
       (SELECT CAST(TOTAL((SELECT MAX(seq) FROM durable_event AS event WHERE event.run = run.pk)) AS INTEGER) FROM durable_run AS run),
       (SELECT COUNT(*) FROM durable_blob),
       (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM durable_blob)
