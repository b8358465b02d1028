-- The same under row locks, taken in the order of the arrays, which is key order. What the locks see is what the
-- counters are told. The place of a locked row does not change until the transaction ends.
SELECT i.ordinal, o.order_time, o.order_seq, o.kind, o.etag, o.size, o.order_class,
       o.desc_time, o.desc_seq, o.desc_hash, o.versioned, o.current, o.ctid::text AS place
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS i (store, bucket, key, version_id, ordinal)
CROSS JOIN LATERAL (
    SELECT ctid, *
    FROM millstream.objects
    WHERE store = i.store AND bucket = i.bucket AND key = i.key AND version_id = i.version_id
    LIMIT 1
    FOR UPDATE
) AS o
