-- What is on record of the shares of a pipeline: the pauses first, then those with the most rows in quarantine.
WITH kept AS (
    SELECT share, sum(rows_kept)::bigint AS rows_kept, sum(rows_aside)::bigint AS rows_aside, sum(bytes_kept)::bigint AS bytes_kept
    FROM millstream.quarantine_change
    WHERE pipeline = $1
    GROUP BY share
), paused AS (
    SELECT share, reason, paused_at, resumed_at FROM millstream.share_pause WHERE pipeline = $1
)
SELECT coalesce(p.share, k.share), p.reason, (extract(epoch FROM p.paused_at) * 1000)::bigint, p.resumed_at IS NOT NULL,
       coalesce(k.rows_kept, 0), coalesce(k.rows_aside, 0), coalesce(k.bytes_kept, 0)
FROM paused p
FULL JOIN kept k ON k.share = p.share
WHERE p.share IS NOT NULL OR k.rows_kept > 0
ORDER BY p.share IS NULL, k.rows_kept DESC, p.share
LIMIT 1000
