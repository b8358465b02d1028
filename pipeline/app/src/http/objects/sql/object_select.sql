-- $1 store, $2 bucket, $3 key, $4 version id, or null for the current one.
SELECT key, version_id, size, etag, kind, current, order_class,
       to_char(millstream.to_time(order_time) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
       CASE WHEN described THEN content_type END, metadata::text,
       CASE WHEN described THEN tags::text END
FROM (SELECT *, (desc_time, desc_seq) >= (order_time, order_seq) AS described FROM millstream.objects) o
WHERE store = $1 AND bucket = $2 AND key = $3
  AND (CASE WHEN $4::text IS NULL THEN current ELSE version_id = $4 AND kind IN (1, 2) END)
