-- A new epoch and token: whoever held these partitions is fenced.
INSERT INTO millstream.lease AS l (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at)
SELECT $1, $2, i.partition, 'positions reset', 1, gen_random_uuid(), i.position, clock_timestamp()
FROM unnest($3::text[], $4::text[]) AS i (partition, position)
ORDER BY i.partition
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET owner = excluded.owner, epoch = l.epoch + 1, token = excluded.token, next_position = excluded.next_position,
    renewed_at = excluded.renewed_at
