WITH added AS (
    INSERT INTO millstream.segment (store, bucket, segment)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
    ON CONFLICT DO NOTHING
    RETURNING store, bucket
), refused AS (
    SELECT store, bucket FROM unnest($4::text[], $5::text[]) AS r (store, bucket)
), changed AS (
    SELECT store, bucket, sum(added) AS added, bool_or(refused) AS refused
    FROM (SELECT store, bucket, 1 AS added, false AS refused FROM added UNION ALL SELECT store, bucket, 0, true FROM refused) AS u
    GROUP BY store, bucket
)
UPDATE millstream.segment_limit l
SET segments = l.segments + c.added, exceeded = l.exceeded OR c.refused
FROM changed c
WHERE l.store = c.store AND l.bucket = c.bucket
