-- As objects_select.sql, but all that has the metadata is found first, by its index, and sorted then: cheap when few
-- have it, however many objects there are. Materialized, or the planner would hope to meet them soon in key order.
WITH found AS MATERIALIZED (
    SELECT * FROM millstream.objects
    WHERE metadata @> $7::jsonb AND store = $1 AND bucket = $2 AND key >= $3 AND ($4::text IS NULL OR key < $4)
      AND ($5::text IS NULL OR (key, version_id) > ($5, $6))
      AND (CASE WHEN $12 THEN kind IN (1, 2) ELSE current END)
      AND ($8::bigint IS NULL OR size >= $8) AND ($9::bigint IS NULL OR size <= $9)
      AND ($10::timestamptz IS NULL OR millstream.to_time(order_time) >= $10::timestamptz)
      AND ($11::timestamptz IS NULL OR millstream.to_time(order_time) < $11::timestamptz)
)
SELECT key, version_id, size, etag, kind, current, order_class,
       to_char(millstream.to_time(order_time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       CASE WHEN (desc_time, desc_seq) >= (order_time, order_seq) THEN content_type END, metadata::text,
       CASE WHEN (desc_time, desc_seq) >= (order_time, order_seq) THEN tags::text END
FROM found
ORDER BY key, version_id
LIMIT $13
