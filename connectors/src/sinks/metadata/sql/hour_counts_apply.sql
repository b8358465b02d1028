INSERT INTO millstream.hour_count AS c (store, bucket, hour, slot, created, removed, bytes)
SELECT i.store, i.bucket, to_timestamp(i.hour * 3600), $1, i.created, i.removed, i.bytes::numeric
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[]) AS i (store, bucket, hour, created, removed, bytes)
ORDER BY i.store COLLATE "C", i.bucket COLLATE "C", i.hour
ON CONFLICT (store, bucket, hour, slot) DO UPDATE
SET created = c.created + excluded.created, removed = c.removed + excluded.removed, bytes = c.bytes + excluded.bytes
