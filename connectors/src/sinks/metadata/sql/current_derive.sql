-- Current is the live row of highest order for the key, if that is not a marker.
WITH ranked AS (
    SELECT o.store, o.bucket, o.key, o.version_id,
           o.kind = 1 AND row_number() OVER (
               PARTITION BY o.store, o.bucket, o.key
               ORDER BY (o.kind IN (1, 2)) DESC, o.order_time DESC, o.order_seq DESC, o.kind DESC, o.version_id DESC, o.etag DESC
           ) = 1 AS current
    FROM unnest($1::text[], $2::text[], $3::text[]) AS i (store, bucket, key)
    JOIN millstream.objects o ON o.store = i.store AND o.bucket = i.bucket AND o.key = i.key
)
UPDATE millstream.objects o
SET current = r.current
FROM ranked r
WHERE o.store = r.store AND o.bucket = r.bucket AND o.key = r.key AND o.version_id = r.version_id
  AND o.current <> r.current
