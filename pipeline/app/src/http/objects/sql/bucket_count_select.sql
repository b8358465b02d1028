SELECT coalesce(sum(objects), 0)::bigint, coalesce(sum(bytes), 0)::text, coalesce(sum(unknown_size), 0)::bigint
FROM millstream.bucket_count
WHERE store = $1 AND bucket = $2
