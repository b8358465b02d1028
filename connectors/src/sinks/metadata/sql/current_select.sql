SELECT i.ordinal, o.size
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, key, ordinal)
CROSS JOIN LATERAL (
    SELECT size
    FROM millstream.objects
    WHERE store = i.store AND bucket = i.bucket AND key = i.key AND current
    LIMIT 1
) AS o
