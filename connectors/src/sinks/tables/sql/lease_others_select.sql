-- Leases of the same pipeline on another stream, of partitions that have none on this one.
SELECT l.incarnation, l.partition, l.next_position
FROM millstream.lease l
WHERE l.pipeline = $1 AND l.incarnation <> $2 AND l.partition = ANY ($3::text[]) AND l.next_position IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM millstream.lease own
      WHERE own.pipeline = $1 AND own.incarnation = $2 AND own.partition = l.partition
  )
ORDER BY l.renewed_at DESC, l.partition
