-- Removes some of the rows that are older than the retention; leaves out those that somebody is redriving.
WITH gone AS (
    DELETE FROM millstream.quarantine
    WHERE id IN (
        SELECT id FROM millstream.quarantine
        WHERE pipeline = $1 AND quarantined_at < clock_timestamp() - make_interval(days => $2)
        ORDER BY quarantined_at
        LIMIT $3
        FOR UPDATE SKIP LOCKED
    )
    RETURNING store
)
SELECT store, count(*) FROM gone GROUP BY store ORDER BY store
