-- The first row, without a store, is of all of them.
SELECT store, coalesce(sum(objects), 0)::bigint, coalesce(sum(bytes), 0)::text, coalesce(sum(unknown_size), 0)::bigint
FROM millstream.bucket_count
GROUP BY ROLLUP (store)
ORDER BY store NULLS FIRST
LIMIT 1001
