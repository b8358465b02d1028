-- $1 store or null, ($2, $3) store and bucket after which to go on, $4 how many, $5 bucket or null.
SELECT store, bucket, sum(objects)::bigint, sum(bytes)::text, sum(unknown_size)::bigint
FROM millstream.bucket_count
WHERE ($1::text IS NULL OR store = $1) AND (store, bucket) > ($2, $3) AND ($5::text IS NULL OR bucket = $5)
GROUP BY store, bucket
ORDER BY store, bucket
LIMIT $4
