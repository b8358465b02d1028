-- Current is the live row of highest order for the key, if that is not a marker. The head rows are locked, so no version
-- of these keys comes or goes meanwhile.
WITH ranked AS MATERIALIZED (
    SELECT o.ctid AS place, o.current AS was,
           o.kind = 1 AND row_number() OVER (
               PARTITION BY i.ordinal
               ORDER BY (o.kind IN (1, 2)) DESC, o.order_time DESC, o.order_seq DESC, o.kind DESC, o.version_id DESC, o.etag DESC
           ) = 1 AS current
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, key, ordinal)
    CROSS JOIN LATERAL (
        SELECT ctid, *
        FROM millstream.objects
        WHERE store = i.store AND bucket = i.bucket AND key = i.key
        OFFSET 0
    ) AS o
)
UPDATE millstream.objects o
SET current = r.current
FROM ranked r
WHERE o.ctid = r.place AND r.was <> r.current
