-- Adds the changes up, one row for each share of each pipeline that has any in quarantine.
WITH gone AS (
    DELETE FROM millstream.quarantine_change
    WHERE number IN (SELECT number FROM millstream.quarantine_change ORDER BY number LIMIT $1 FOR UPDATE SKIP LOCKED)
    RETURNING pipeline, share, rows_kept, rows_aside, bytes_kept
)
INSERT INTO millstream.quarantine_change (pipeline, share, rows_kept, rows_aside, bytes_kept)
SELECT pipeline, share, sum(rows_kept), sum(rows_aside), sum(bytes_kept)
FROM gone
GROUP BY pipeline, share
HAVING sum(rows_kept) <> 0 OR sum(rows_aside) <> 0 OR sum(bytes_kept) <> 0
