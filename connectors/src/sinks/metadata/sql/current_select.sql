SELECT i.ordinal, o.size
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, key, ordinal)
JOIN millstream.objects o ON o.store = i.store AND o.bucket = i.bucket AND o.key = i.key
WHERE o.current
