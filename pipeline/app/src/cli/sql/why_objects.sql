-- Every row of one key. The stores are given so that the index on (store, bucket, key) is used.
SELECT o.store, o.version_id, o.kind, o.order_time, o.order_seq, o.order_class, o.size, o.etag, o.current,
       o.desc_time, o.desc_seq, o.content_type, coalesce(o.metadata, o.older_metadata)::text AS metadata, o.tags::text, o.removed_time, o.removed_seq
FROM millstream.objects o
WHERE o.bucket = $2 AND o.key = $3
  AND o.store = ANY (CASE WHEN $4::text IS NOT NULL THEN ARRAY[$4]
                          ELSE $1::text[] || ARRAY(SELECT DISTINCT store FROM millstream.bucket_count WHERE bucket = $2) END)
ORDER BY o.store, o.current DESC, o.order_time DESC, o.order_seq DESC
