INSERT INTO millstream.segment_change (slot, store, bucket, segment, objects, bytes, unknown_size)
VALUES ($1, $2, $3, $4, $5, $6::text[]::numeric[], $7)
