-- Every bucket that has rows or counters. The key index is asked for the next bucket each time: reading every key of
-- the table to name a hundred buckets would cost as much as counting them.
WITH RECURSIVE there AS (
    (SELECT store, bucket FROM millstream.objects ORDER BY store, bucket LIMIT 1)
    UNION ALL
    SELECT next.store, next.bucket
    FROM there
    CROSS JOIN LATERAL (
        SELECT o.store, o.bucket
        FROM millstream.objects o
        WHERE (o.store, o.bucket) > (there.store, there.bucket)
        ORDER BY o.store, o.bucket
        LIMIT 1
    ) AS next
), named AS (
    SELECT store, bucket FROM there
    UNION SELECT store, bucket FROM millstream.bucket_count
    UNION SELECT store, bucket FROM millstream.segment_sum
    UNION SELECT store, bucket FROM millstream.hour_count
)
SELECT store, bucket
FROM named
WHERE ($1::text IS NULL OR store = $1) AND ($2::text IS NULL OR bucket = $2)
ORDER BY store, bucket
