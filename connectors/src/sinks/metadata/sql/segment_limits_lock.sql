INSERT INTO millstream.segment_limit AS l (store, bucket, segments)
SELECT DISTINCT i.store COLLATE "C", i.bucket COLLATE "C", 0
FROM unnest($1::text[], $2::text[]) AS i (store, bucket)
ORDER BY 1, 2
ON CONFLICT (store, bucket) DO UPDATE SET segments = l.segments
RETURNING store, bucket, segments
