SELECT i.ordinal
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, segment, ordinal)
CROSS JOIN LATERAL (
    SELECT FROM millstream.segment WHERE store = i.store AND bucket = i.bucket AND segment = i.segment LIMIT 1
) AS s
