-- The smallest slot that is free or whose writer has been silent for an hour. No row comes back if another writer took
-- that slot meanwhile: ask again.
INSERT INTO millstream.slot AS s (slot, token, renewed_at)
SELECT free.slot, $1::uuid, clock_timestamp()
FROM generate_series(0, 1023) AS free (slot)
WHERE NOT EXISTS (
    SELECT FROM millstream.slot taken
    WHERE taken.slot = free.slot AND taken.renewed_at > clock_timestamp() - interval '1 hour'
)
ORDER BY free.slot
LIMIT 1
ON CONFLICT (slot) DO UPDATE SET token = excluded.token, renewed_at = excluded.renewed_at
WHERE s.renewed_at <= clock_timestamp() - interval '1 hour'
RETURNING slot
