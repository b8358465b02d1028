-- Rows under locks, taken in the order of the arrays, which is key order. What the locks see is what the counters are
-- told. The place of a locked row does not change until the transaction ends.
SELECT i.ordinal, o.order_time, o.order_seq, o.kind, o.etag, o.size, o.order_class,
       o.desc_time, o.desc_seq, o.desc_hash, o.versioned, o.current, o.ctid::text AS place, o.xmin::text AS writer,
       o.removed_time, o.removed_seq, o.removed_class
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS i (store, bucket, key, version_id, ordinal)
CROSS JOIN LATERAL (
    SELECT ctid, xmin, *
    FROM millstream.objects
    WHERE bucket = i.bucket AND key = i.key AND store = i.store AND version_id = i.version_id
    LIMIT 1
    FOR UPDATE
) AS o
