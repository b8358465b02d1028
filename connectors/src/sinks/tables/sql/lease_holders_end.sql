-- Ends the sessions that have kept these leases locked for too long. A writer that stands still inside a COPY is reached
-- by no timeout of PostgreSQL, only by this. Locking a row leaves the number of the transaction in it, and that number is
-- locked by the session it runs in. Sessions of our own role may be ended without any privilege. One that is gone by then
-- is no news, which PostgreSQL would warn of.
WITH quiet AS MATERIALIZED (
    SELECT set_config('client_min_messages', 'error', true) AS level
), holder AS MATERIALIZED (
    SELECT a.pid, a.state, min(l.owner) AS owner, string_agg(l.partition, ', ' ORDER BY l.partition) AS partitions,
           (extract(epoch FROM clock_timestamp() - min(a.xact_start)))::bigint AS seconds
    FROM millstream.lease l
    JOIN pg_locks k ON k.locktype = 'transactionid' AND k.transactionid = l.xmax AND k.mode = 'ExclusiveLock' AND k.granted
    JOIN pg_stat_activity a ON a.pid = k.pid AND a.usename = current_user AND a.pid <> pg_backend_pid()
    WHERE l.pipeline = $1 AND l.incarnation = $2 AND l.partition = ANY ($3::text[])
      AND greatest(l.renewed_at, a.xact_start) < clock_timestamp() - make_interval(secs => $4)
    GROUP BY a.pid, a.state
)
SELECT pid, state, owner, partitions, seconds, pg_terminate_backend(pid) AS ended FROM quiet, holder WHERE quiet.level IS NOT NULL
