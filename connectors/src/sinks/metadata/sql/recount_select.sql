-- Where the counters of one bucket differ from its rows. One statement sees one snapshot: a writer's transaction is in
-- the rows and in the counters of it, or in neither.
WITH facts AS (
    SELECT current, kind, size, left(key, position('/' IN key)) AS segment,
           -- The upper half of the order time holds seconds since 1970, with the sign bit flipped; without a time, none.
           (nullif(order_time >> 32, -2147483648) + 2147483648) / 3600 AS hour
    FROM millstream.objects
    WHERE store = $1 AND bucket = $2
), sums AS (
    SELECT GROUPING(segment, hour) AS grouped, segment, hour,
           count(*) FILTER (WHERE current) AS objects,
           coalesce(sum(size) FILTER (WHERE current), 0) AS bytes,
           count(*) FILTER (WHERE current AND size IS NULL) AS unknown_size,
           count(*) FILTER (WHERE kind = 1) AS created,
           coalesce(sum(size) FILTER (WHERE kind = 1), 0) AS created_bytes,
           count(*) FILTER (WHERE kind IN (2, 3)) AS removed
    FROM facts
    GROUP BY GROUPING SETS ((), (segment), (hour))
), both_sides (segment, hour, counted_number, counted_bytes, counted_other, true_number, true_bytes, true_other) AS (
    SELECT segment, NULL::bigint, 0::numeric, 0::numeric, 0::numeric, objects::numeric, bytes::numeric, unknown_size::numeric
    FROM sums
    WHERE grouped = 3
       -- A segment beyond the limit was never registered and has no counter: it is not counted.
       OR grouped = 1 AND segment IN (
           SELECT s.segment FROM millstream.segment s WHERE s.store = $1 AND s.bucket = $2
           UNION ALL
           SELECT c.segment FROM millstream.segment_sum c WHERE c.store = $1 AND c.bucket = $2
       )
    UNION ALL
    SELECT NULL, hour, 0, 0, 0, created, created_bytes, removed FROM sums WHERE grouped = 2 AND hour IS NOT NULL
    UNION ALL
    SELECT NULL, NULL, objects, bytes, unknown_size, 0, 0, 0
    FROM millstream.bucket_count WHERE store = $1 AND bucket = $2
    UNION ALL
    SELECT segment, NULL, objects, bytes, unknown_size, 0, 0, 0
    FROM millstream.segment_sum WHERE store = $1 AND bucket = $2
    UNION ALL
    SELECT NULL, floor(extract(epoch FROM hour) / 3600)::bigint, created, bytes, removed, 0, 0, 0
    FROM millstream.hour_count WHERE store = $1 AND bucket = $2
)
SELECT segment, hour, sum(counted_number)::text, sum(counted_bytes)::text, sum(counted_other)::text,
       sum(true_number)::text, sum(true_bytes)::text, sum(true_other)::text
FROM both_sides
GROUP BY segment, hour
HAVING sum(counted_number) <> sum(true_number)
    OR sum(counted_bytes) <> sum(true_bytes)
    OR sum(counted_other) <> sum(true_other)
ORDER BY hour NULLS FIRST, segment NULLS FIRST
