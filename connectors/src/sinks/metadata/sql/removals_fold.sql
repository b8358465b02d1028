-- Folds the removal of a whole key, which its head row keeps, into the rows of the key that are older: as a deletion of
-- its order. The heads are locked, so no row of these keys comes or goes meanwhile. Returns what the rows were before,
-- by the ordinal of the key, and the time that they have now.
WITH older AS MATERIALIZED (
    SELECT i.ordinal, o.place, o.order_time, o.kind, o.size, h.removed_time, h.removed_seq, h.removed_class
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, key, ordinal)
    CROSS JOIN LATERAL (
        SELECT removed_time, removed_seq, removed_class
        FROM millstream.objects
        WHERE bucket = i.bucket AND key = i.key AND store = i.store AND version_id = ''
        LIMIT 1
    ) AS h
    CROSS JOIN LATERAL (
        SELECT ctid AS place, order_time, kind, size
        FROM millstream.objects
        WHERE bucket = i.bucket AND key = i.key AND store = i.store
          AND ((order_time, order_seq, kind) < (h.removed_time, h.removed_seq, 3::smallint)
               OR (order_time, order_seq, kind) = (h.removed_time, h.removed_seq, 3::smallint) AND order_class < h.removed_class)
        OFFSET 0
    ) AS o
)
UPDATE millstream.objects o
SET kind = 3, order_time = r.removed_time, order_seq = r.removed_seq, order_class = r.removed_class, etag = '', size = NULL,
    metadata = CASE WHEN (o.desc_time, o.desc_seq) >= (r.removed_time, r.removed_seq) THEN coalesce(o.metadata, o.older_metadata) END,
    older_metadata = CASE WHEN (o.desc_time, o.desc_seq) < (r.removed_time, r.removed_seq) THEN coalesce(o.metadata, o.older_metadata) END
FROM older r
WHERE o.ctid = r.place
RETURNING r.ordinal, r.kind, r.order_time, r.size, r.removed_time
