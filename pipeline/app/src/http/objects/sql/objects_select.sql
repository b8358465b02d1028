-- In the order of the primary key: cheap when most rows pass the filters. A filter that is null does not filter; the
-- statement is planned with its values, so that it costs nothing.
-- $1 store, $2 bucket, $3 first key, $4 key that ends the prefix, ($5, $6) key and version after which to go on,
-- $7 metadata, $8 and $9 size, $10 and $11 time, $12 all versions, $13 how many.
SELECT key, version_id, size, etag, kind, current, order_class,
       to_char(millstream.to_time(order_time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       CASE WHEN described THEN content_type END, metadata::text,
       CASE WHEN described THEN tags::text END
FROM (SELECT *, (desc_time, desc_seq) >= (order_time, order_seq) AS described FROM millstream.objects) o
WHERE store = $1 AND bucket = $2 AND key >= $3 AND ($4::text IS NULL OR key < $4)
  AND ($5::text IS NULL OR (key, version_id) > ($5, $6))
  AND (CASE WHEN $12 THEN kind IN (1, 2) ELSE current END)
  AND ($7::jsonb IS NULL OR metadata @> $7::jsonb)
  AND ($8::bigint IS NULL OR size >= $8) AND ($9::bigint IS NULL OR size <= $9)
  AND ($10::timestamptz IS NULL OR millstream.to_time(order_time) >= $10::timestamptz)
  AND ($11::timestamptz IS NULL OR millstream.to_time(order_time) < $11::timestamptz)
ORDER BY key, version_id
LIMIT $13
