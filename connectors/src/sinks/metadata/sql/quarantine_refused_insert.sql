-- Events that are refused now and were not when their record was set aside. $1 names any row of the record.
INSERT INTO millstream.quarantine (pipeline, incarnation, partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at)
SELECT q.pipeline, q.incarnation, q.partition, q.position, i.index, i.reason, i.detail, NULL, q.store, q.record_key, q.headers, q.payload, q.published_at
FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[]) AS i (id, index, reason, detail)
JOIN millstream.quarantine q ON q.id = i.id
ON CONFLICT (pipeline, incarnation, partition, position, index) DO NOTHING
