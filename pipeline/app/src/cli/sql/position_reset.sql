-- A new epoch and token: whoever held these partitions is fenced. A person has decided, so a halt ends here.
INSERT INTO millstream.lease AS l (pipeline, incarnation, partition, owner, epoch, token, next_position, era, renewed_at)
SELECT $1, $2, i.partition, 'positions reset', 1, gen_random_uuid(), i.position, i.era, clock_timestamp()
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS i (partition, position, era)
ORDER BY i.partition
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET owner = excluded.owner, epoch = l.epoch + 1, token = excluded.token, next_position = excluded.next_position,
    era = excluded.era, renewed_at = excluded.renewed_at, halted_at = NULL, halt_reason = NULL
