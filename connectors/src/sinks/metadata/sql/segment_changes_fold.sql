-- Adds what one slot has gathered up, and to its counters. Each counter is written once, whatever was gathered of it.
WITH taken AS (
    DELETE FROM millstream.segment_change
    WHERE slot = $1
    RETURNING store, bucket, segment, objects, bytes, unknown_size
), summed AS (
    SELECT e.store, e.bucket, e.segment, sum(e.objects)::bigint AS objects, sum(e.bytes) AS bytes, sum(e.unknown_size)::bigint AS unknown_size
    FROM taken t
    CROSS JOIN LATERAL unnest(t.store, t.bucket, t.segment, t.objects, t.bytes, t.unknown_size)
        AS e (store, bucket, segment, objects, bytes, unknown_size)
    GROUP BY e.store, e.bucket, e.segment
    HAVING sum(e.objects) <> 0 OR sum(e.bytes) <> 0 OR sum(e.unknown_size) <> 0
)
INSERT INTO millstream.segment_count AS c (store, bucket, segment, slot, objects, bytes, unknown_size)
SELECT store, bucket, segment, $1, objects, bytes, unknown_size
FROM summed
ORDER BY store, bucket, segment
ON CONFLICT (store, bucket, segment, slot) DO UPDATE
SET objects = c.objects + excluded.objects, bytes = c.bytes + excluded.bytes, unknown_size = c.unknown_size + excluded.unknown_size
