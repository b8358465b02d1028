INSERT INTO millstream.bucket_count AS c (store, bucket, slot, objects, bytes, unknown_size)
SELECT i.store, i.bucket, $1, i.objects, i.bytes::numeric, i.unknown_size
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[]) AS i (store, bucket, objects, bytes, unknown_size)
ORDER BY i.store COLLATE "C", i.bucket COLLATE "C"
ON CONFLICT (store, bucket, slot) DO UPDATE
SET objects = c.objects + excluded.objects, bytes = c.bytes + excluded.bytes, unknown_size = c.unknown_size + excluded.unknown_size
