-- All rows of the records that these rows belong to: a record is written again as a whole.
SELECT q.id, q.pipeline, q.incarnation, q.partition, q.position, q.index, q.store, q.record_key, q.headers::text, q.payload,
       (extract(epoch FROM q.published_at) * 1000)::bigint AS published_at_ms
FROM millstream.quarantine q
WHERE (q.pipeline, q.incarnation, q.partition, q.position) IN (
    SELECT pipeline, incarnation, partition, position FROM millstream.quarantine WHERE id = ANY ($1::bigint[])
)
ORDER BY q.pipeline, q.incarnation, q.partition, q.position, q.index
FOR UPDATE
