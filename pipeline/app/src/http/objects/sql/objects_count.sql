-- A filter that is null does not filter. $1 store, $2 bucket, $3 first key, $4 key that ends the prefix, $5 metadata,
-- $6 and $7 size, $8 and $9 time.
SELECT count(*), coalesce(sum(size), 0)::text, count(*) FILTER (WHERE size IS NULL)
FROM millstream.objects
WHERE store = $1 AND bucket = $2 AND key >= $3 AND ($4::text IS NULL OR key < $4) AND current
  AND ($5::jsonb IS NULL OR metadata @> $5::jsonb)
  AND ($6::bigint IS NULL OR size >= $6) AND ($7::bigint IS NULL OR size <= $7)
  AND ($8::timestamptz IS NULL OR millstream.to_time(order_time) >= $8::timestamptz)
  AND ($9::timestamptz IS NULL OR millstream.to_time(order_time) < $9::timestamptz)
