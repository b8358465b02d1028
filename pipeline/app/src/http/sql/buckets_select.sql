-- $1 store or null, ($2, $3) store and bucket after which to go on, $4 how many.
SELECT store, bucket, sum(objects)::bigint, sum(bytes)::text, sum(unknown_size)::bigint
FROM millstream.bucket_count
WHERE ($1::text IS NULL OR store = $1) AND (store, bucket) > ($2, $3)
GROUP BY store, bucket
ORDER BY store, bucket
LIMIT $4
