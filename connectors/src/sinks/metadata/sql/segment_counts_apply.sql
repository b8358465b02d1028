INSERT INTO millstream.segment_count AS c (store, bucket, segment, slot, objects, bytes, unknown_size)
SELECT i.store, i.bucket, i.segment, $1, i.objects, i.bytes::numeric, i.unknown_size
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[]) AS i (store, bucket, segment, objects, bytes, unknown_size)
ORDER BY i.store COLLATE "C", i.bucket COLLATE "C", i.segment COLLATE "C"
ON CONFLICT (store, bucket, segment, slot) DO UPDATE
SET objects = c.objects + excluded.objects, bytes = c.bytes + excluded.bytes, unknown_size = c.unknown_size + excluded.unknown_size
