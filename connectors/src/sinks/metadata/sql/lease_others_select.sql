-- Leases of the same pipeline on another stream, where there is none on this one.
SELECT incarnation, partition, next_position
FROM millstream.lease
WHERE pipeline = $1 AND incarnation <> $2 AND partition = ANY ($3::text[]) AND next_position IS NOT NULL
  AND NOT EXISTS (SELECT FROM millstream.lease WHERE pipeline = $1 AND incarnation = $2)
ORDER BY renewed_at DESC, partition
