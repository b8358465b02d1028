-- The sessions in the way of those that wait in a migration: who waits and either has the migrations' own lock or
-- waits for it. The number of that lock is kept as two halves.
WITH migrating AS (
    SELECT DISTINCT l.pid FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.objsubid = 1
      AND l.classid::bigint = ($1::bigint >> 32) AND l.objid::bigint = ($1::bigint & 4294967295)
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT a.pid, coalesce(a.usename, 'unknown')::text AS role, coalesce(nullif(a.application_name, ''), 'no application name') AS application,
       coalesce(a.state, 'unknown') AS state, coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8 AS seconds
FROM pg_stat_activity a
WHERE a.pid IN (SELECT unnest(pg_blocking_pids(m.pid)) FROM migrating m)
ORDER BY seconds DESC
LIMIT 3
