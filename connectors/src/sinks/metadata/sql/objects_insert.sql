-- For keys that another writer may insert at the same time: says which ones are new.
INSERT INTO millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current,
    store, bucket, key, version_id, etag, content_type, metadata, tags, older_metadata)
SELECT i.order_time, i.order_seq, i.desc_time, i.desc_seq, i.desc_hash, i.size, i.kind, i.order_class,
       i.kind = 1 AND i.version_id = '', i.store, i.bucket, i.key, i.version_id, i.etag, i.content_type,
       CASE WHEN (i.desc_time, i.desc_seq) >= (i.order_time, i.order_seq) THEN i.metadata::jsonb END, i.tags::jsonb,
       CASE WHEN (i.desc_time, i.desc_seq) < (i.order_time, i.order_seq) THEN i.metadata::jsonb END
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::smallint[],
            $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[])
    AS i (store, bucket, key, version_id, kind, order_time, order_seq, order_class, etag, size,
          desc_time, desc_seq, desc_hash, content_type, metadata, tags)
ORDER BY i.bucket COLLATE "C", i.key COLLATE "C", i.store COLLATE "C", i.version_id COLLATE "C"
ON CONFLICT (store, bucket, key, version_id) DO NOTHING
RETURNING store, bucket, key, version_id
