-- What sessions do, of this program and of others, how far the slowest replica is behind, and how many processes write.
-- Null where this account may not see all of it (pg_monitor): what is counted in part would look like a quiet server.
WITH may AS (SELECT pg_has_role('pg_read_all_stats', 'USAGE') AS see)
SELECT CASE WHEN see THEN count(pid) FILTER (WHERE wait_event IS NULL) END,
       -- To extend a table is nobody's row: it passes within milliseconds, however small the transactions are.
       CASE WHEN see THEN count(pid) FILTER (WHERE wait_event_type = 'Lock' AND wait_event <> 'extend') END,
       CASE WHEN see THEN count(pid) FILTER (WHERE wait_event_type = 'IO' OR wait_event = 'WALWrite') END,
       CASE WHEN see THEN (SELECT extract(epoch FROM max(replay_lag))::float8 FROM pg_stat_replication) END,
       -- Neither writers of this program nor what the server does because of them. A client that itself waits for a
       -- processor leaves its session idle between two statements; those of this program ask one thing now and then.
       CASE WHEN see THEN count(pid)
           FILTER (WHERE (wait_event IS NULL OR (state <> 'active' AND application_name NOT LIKE 'millstream%'))
           AND application_name <> 'millstream writer' AND backend_type IN ('client backend', 'parallel worker')) END,
       -- Who has committed nothing for as long takes nothing from the others.
       (SELECT count(DISTINCT owner) FROM millstream.lease WHERE renewed_at > clock_timestamp() - interval '15 seconds'),
       -- What these use of the processors, where they are processes of this machine; also those that rest just now.
       pg_backend_pid(),
       ARRAY(SELECT w.pid FROM pg_stat_activity w WHERE w.application_name = 'millstream writer')
FROM may LEFT JOIN pg_stat_activity
  ON pid <> pg_backend_pid() AND (state = 'active' OR backend_type IN ('parallel worker', 'autovacuum worker')
      OR state_change > clock_timestamp() - interval '20 milliseconds')
GROUP BY see
