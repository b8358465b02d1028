-- All rows of the records that these rows belong to: a record is written again as a whole. Its bytes stand in each of
-- its rows, and are asked for once.
WITH locked AS (
    SELECT q.id, q.pipeline, q.incarnation, q.partition, q.position, q.index, q.store, q.record_key, q.headers, q.payload,
           q.published_at
    FROM millstream.quarantine q
    WHERE (q.pipeline, q.incarnation, q.partition, q.position) IN (
        SELECT pipeline, incarnation, partition, position FROM millstream.quarantine WHERE id = ANY ($1::bigint[])
    )
    ORDER BY q.pipeline, q.incarnation, q.partition, q.position, q.index
    FOR UPDATE
)
SELECT id, pipeline, incarnation, partition, position, index, store, record_key, headers::text,
       CASE WHEN row_number() OVER (PARTITION BY pipeline, incarnation, partition, position ORDER BY index) = 1
            THEN payload END AS payload,
       (extract(epoch FROM published_at) * 1000)::bigint AS published_at_ms
FROM locked
ORDER BY pipeline, incarnation, partition, position, index
