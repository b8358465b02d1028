-- Folds newer facts and descriptions into stored rows. Rows are locked first, in key order; what the lock saw is what
-- the counters are told.
WITH incoming AS (
    SELECT *
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::smallint[],
                $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[])
        WITH ORDINALITY
        AS i (store, bucket, key, version_id, kind, order_time, order_seq, order_class, etag, size,
              desc_time, desc_seq, desc_hash, content_type, metadata, tags, ordinal)
), locked AS (
    SELECT i.ordinal, o.store, o.bucket, o.key, o.version_id, o.kind, o.order_time, o.order_seq, o.order_class, o.etag,
           o.size, o.desc_time, o.desc_seq, o.desc_hash, o.current, o.versioned
    FROM incoming i
    JOIN millstream.objects o
      ON o.store = i.store AND o.bucket = i.bucket AND o.key = i.key AND o.version_id = i.version_id
    ORDER BY o.store, o.bucket, o.key, o.version_id
    FOR UPDATE OF o
), judged AS (
    -- kind 0 brings no facts. Facts are ordered by time, number, kind, etag; descriptions by time, number.
    SELECT l.ordinal, l.store, l.bucket, l.key, l.version_id, l.versioned,
           l.kind AS old_kind, l.order_time AS old_time, l.size AS old_size, l.current AS old_current,
           i.kind <> 0 AND (i.order_time, i.order_seq, i.kind, i.etag COLLATE "C") > (l.order_time, l.order_seq, l.kind, l.etag) AS facts_newer,
           i.kind <> 0 AND (i.order_time, i.order_seq, i.kind, i.etag COLLATE "C") = (l.order_time, l.order_seq, l.kind, l.etag) AS facts_equal,
           (i.desc_time, i.desc_seq) > (l.desc_time, l.desc_seq) AS desc_newer,
           (i.desc_time, i.desc_seq) = (l.desc_time, l.desc_seq) AND i.desc_hash <> l.desc_hash AS desc_merged
    FROM locked l JOIN incoming i USING (ordinal)
)
UPDATE millstream.objects o
SET kind        = CASE WHEN j.facts_newer THEN i.kind ELSE o.kind END,
    order_time  = CASE WHEN j.facts_newer THEN i.order_time ELSE o.order_time END,
    order_seq   = CASE WHEN j.facts_newer THEN i.order_seq ELSE o.order_seq END,
    etag        = CASE WHEN j.facts_newer THEN i.etag ELSE o.etag END,
    order_class = CASE WHEN j.facts_newer THEN i.order_class WHEN j.facts_equal THEN greatest(i.order_class, o.order_class) ELSE o.order_class END,
    size        = CASE WHEN j.facts_newer THEN i.size WHEN j.facts_equal THEN greatest(i.size, o.size) ELSE o.size END,
    current     = CASE WHEN j.facts_newer THEN i.kind = 1 AND (o.current OR (o.version_id = '' AND NOT o.versioned)) ELSE o.current END,
    desc_time   = CASE WHEN j.desc_newer THEN i.desc_time ELSE o.desc_time END,
    desc_seq    = CASE WHEN j.desc_newer THEN i.desc_seq ELSE o.desc_seq END,
    desc_hash   = CASE WHEN j.desc_newer THEN i.desc_hash WHEN j.desc_merged THEN greatest(i.desc_hash, o.desc_hash) ELSE o.desc_hash END,
    content_type = CASE WHEN j.desc_newer THEN i.content_type WHEN j.desc_merged THEN greatest(i.content_type COLLATE "C", o.content_type) ELSE o.content_type END,
    metadata    = CASE WHEN j.desc_newer THEN i.metadata::jsonb WHEN j.desc_merged THEN greatest(i.metadata::jsonb, o.metadata) ELSE o.metadata END,
    tags        = CASE WHEN j.desc_newer THEN i.tags::jsonb WHEN j.desc_merged THEN greatest(i.tags::jsonb, o.tags) ELSE o.tags END
FROM judged j JOIN incoming i USING (ordinal)
WHERE o.store = j.store AND o.bucket = j.bucket AND o.key = j.key AND o.version_id = j.version_id
  AND (j.facts_newer OR j.desc_newer OR j.desc_merged
       OR (j.facts_equal AND (coalesce(i.size, -1) > coalesce(o.size, -1) OR i.order_class > o.order_class)))
RETURNING j.ordinal, j.versioned, j.old_kind, j.old_time, j.old_size, j.old_current,
          o.kind AS new_kind, o.order_time AS new_time, o.size AS new_size, o.current AS new_current
