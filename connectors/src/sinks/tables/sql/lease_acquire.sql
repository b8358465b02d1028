-- One statement is one transaction, so the limit of the wait is said inside of it, before the first row is locked.
WITH wait AS MATERIALIZED (SELECT set_config('lock_timeout', $6, true) AS ms)
INSERT INTO millstream.lease AS l (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at)
SELECT $1, $2, p, $4, 1, $5::uuid, NULL, clock_timestamp()
FROM wait CROSS JOIN unnest($3::text[]) AS p
WHERE wait.ms IS NOT NULL
ORDER BY p
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET owner = excluded.owner, epoch = l.epoch + 1, token = excluded.token, renewed_at = clock_timestamp()
RETURNING partition, next_position, era, halt_reason
