INSERT INTO millstream.lease AS l (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at)
SELECT $1, $2, p, $4, 1, $5::uuid, NULL, clock_timestamp()
FROM unnest($3::text[]) AS p
ORDER BY p
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET owner = excluded.owner, epoch = l.epoch + 1, token = excluded.token, renewed_at = clock_timestamp()
RETURNING partition, next_position
