INSERT INTO millstream.quarantine (pipeline, incarnation, partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at)
SELECT $1, $2, i.partition, i.position, i.index, i.reason, i.detail, i.sqlstate, i.store, i.record_key, i.headers::jsonb, i.payload,
       to_timestamp(i.published_at_ms / 1000.0)
FROM unnest($3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::text[], $12::bytea[], $13::bigint[])
    AS i (partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at_ms)
ON CONFLICT (pipeline, incarnation, partition, position, index) DO NOTHING
