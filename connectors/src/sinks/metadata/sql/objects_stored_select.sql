-- What is stored of the keys of a batch, without locks: a redelivered event ends here. One descent of the key index per
-- key, whatever the planner believes about the size of the table: LIMIT keeps it from turning the loop around.
SELECT i.ordinal, o.order_time, o.order_seq, o.kind, o.etag, o.size, o.order_class,
       o.desc_time, o.desc_seq, o.desc_hash, o.versioned, o.current, NULL AS place
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS i (store, bucket, key, version_id, ordinal)
CROSS JOIN LATERAL (
    SELECT *
    FROM millstream.objects
    WHERE store = i.store AND bucket = i.bucket AND key = i.key AND version_id = i.version_id
    LIMIT 1
) AS o
