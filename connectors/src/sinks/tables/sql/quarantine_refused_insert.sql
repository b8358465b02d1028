-- Events that are refused now and were not when their record was set aside. $1 names any row of the record. Returns that
-- row, the index, and the number of the new row.
WITH refused AS (
    SELECT i.id, i.index, i.reason, i.detail, q.pipeline, q.incarnation, q.partition, q.position, q.store, q.record_key, q.headers, q.payload, q.published_at
    FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[]) AS i (id, index, reason, detail)
    JOIN millstream.quarantine q ON q.id = i.id
), inserted AS (
    INSERT INTO millstream.quarantine (pipeline, incarnation, partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at)
    SELECT pipeline, incarnation, partition, position, index, reason, detail, NULL, store, record_key, headers, payload, published_at
    FROM refused
    ON CONFLICT (pipeline, incarnation, partition, position, index) DO NOTHING
    RETURNING id, pipeline, incarnation, partition, position, index
)
SELECT r.id, r.index, n.id
FROM refused r
JOIN inserted n ON n.pipeline = r.pipeline AND n.incarnation = r.incarnation AND n.partition = r.partition
               AND n.position = r.position AND n.index = r.index
