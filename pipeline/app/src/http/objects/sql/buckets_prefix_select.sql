-- Only what has a prefix. $1 store or null, ($2, $3) store and bucket after which to go on, $4 how many, $5 bucket or
-- null, $6 first key, $7 key that ends the prefix.
SELECT store, bucket, counted.objects, counted.bytes, counted.unknown_size
FROM (
  SELECT DISTINCT store, bucket
  FROM millstream.bucket_count
  WHERE ($1::text IS NULL OR store = $1) AND (store, bucket) > ($2, $3) AND ($5::text IS NULL OR bucket = $5)
) AS known
CROSS JOIN LATERAL (
  SELECT count(*) AS objects, coalesce(sum(o.size), 0)::text AS bytes, count(*) FILTER (WHERE o.size IS NULL) AS unknown_size
  FROM millstream.objects AS o
  WHERE o.store = known.store AND o.bucket = known.bucket AND o.key >= $6 AND ($7::text IS NULL OR o.key < $7) AND o.current
) AS counted
WHERE counted.objects > 0
ORDER BY store, bucket
LIMIT $4
