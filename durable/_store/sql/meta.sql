-- :name get_meta
-- One thing that is true of the file as a whole; none of them is text, which may not even be UTF-8.
SELECT CASE WHEN typeof(value) <> 'text' THEN value END AS value
  FROM durable_meta
 WHERE name = :name

-- :name get_adopted_version
-- The version of our tables in a file that another program made. What is no whole number is of no
-- version; it may be text that does not even read.
SELECT CASE typeof(value) WHEN 'integer' THEN value ELSE -1 END
  FROM durable_meta
 WHERE name = 'version'

-- :name count_log
-- A log was begun: said in its first commit, so a file without its log is known.
UPDATE durable_meta
   SET value = value + 1
 WHERE name = 'logs'
RETURNING value

-- :name renew_secret
-- The file's secret was lost, or changed by hand: tokens are keyed with another from now on.
INSERT OR REPLACE INTO durable_meta
VALUES (:name, randomblob(32))

-- :name make_generation
-- A copy is another file; or the file's number was lost, or changed by hand.
INSERT OR REPLACE INTO durable_meta
VALUES (:name, random())

-- :name make_logs
-- The count of its logs was lost, or changed by hand.
INSERT OR REPLACE INTO durable_meta
VALUES (:name, 0)
