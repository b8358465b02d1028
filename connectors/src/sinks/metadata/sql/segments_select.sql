SELECT i.ordinal
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, segment, ordinal)
JOIN millstream.segment s ON s.store = i.store AND s.bucket = i.bucket AND s.segment = i.segment
