-- :name get_meta
-- One thing that is true of the file as a whole; none of them is text, which may not even be UTF-8.
SELECT CASE WHEN typeof(value) <> 'text' THEN value END AS value
  FROM durable_meta
 WHERE name = :name

-- :name get_adopted_version
-- The version of our tables in a file that another program made.
SELECT value
  FROM durable_meta
 WHERE name = 'version'

-- :name count_log
-- A log was begun: said in its first commit, so a file without its log is known.
UPDATE durable_meta
   SET value = value + 1
 WHERE name = 'logs'
RETURNING value

-- :name renew_generation
-- A copy is another file.
UPDATE durable_meta
   SET value = random()
 WHERE name = 'generation'

-- :name renew_secret
-- The file's secret was lost, or changed by hand: tokens are keyed with another from now on.
INSERT OR REPLACE INTO durable_meta
VALUES (:name, randomblob(32))

-- :name make_generation
-- The file's number was lost, or changed by hand.
INSERT OR REPLACE INTO durable_meta
VALUES (:name, random())

-- :name make_logs
-- The count of its logs was lost, or changed by hand.
INSERT OR REPLACE INTO durable_meta
VALUES (:name, 0)
