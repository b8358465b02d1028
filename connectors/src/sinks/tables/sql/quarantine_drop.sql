-- Removes the oldest rows of shares that keep more than they may, and a part more, so that this is not done for each new
-- row: up to $5 rows and $6 bytes less than the bound are kept. Leaves out rows that somebody is redriving. A payload is
-- not read for its length.
WITH kept AS (
    SELECT share, sum(rows_kept)::bigint AS rows, sum(bytes_kept)::bigint AS bytes
    FROM millstream.quarantine_change
    WHERE pipeline = $1 AND share = ANY ($2::text[])
    GROUP BY share
), much AS (
    SELECT share, rows - ($3 - $5) AS rows_over, bytes - ($4 - $6) AS bytes_over
    FROM kept
    WHERE rows > $3 OR bytes > $4
), oldest AS (
    SELECT q.id
    FROM much m
    CROSS JOIN LATERAL (
        SELECT f.id, row_number() OVER w AS number, sum(f.bytes) OVER w - f.bytes AS bytes_before
        FROM (
            SELECT id, quarantined_at, octet_length(payload)::bigint AS bytes
            FROM millstream.quarantine
            WHERE pipeline = $1 AND store = m.share
            ORDER BY quarantined_at, id
            LIMIT $7
        ) AS f
        WINDOW w AS (ORDER BY f.quarantined_at, f.id ROWS UNBOUNDED PRECEDING)
    ) AS q
    WHERE q.number <= m.rows_over OR q.bytes_before < m.bytes_over
), locked AS (
    SELECT id FROM millstream.quarantine WHERE id IN (SELECT id FROM oldest) FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM millstream.quarantine WHERE id IN (SELECT id FROM locked) RETURNING store
)
SELECT store, count(*) FROM gone GROUP BY store ORDER BY store
