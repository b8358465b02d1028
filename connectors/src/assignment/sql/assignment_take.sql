-- Only what is still as it was seen: somebody else may have been faster.
INSERT INTO millstream.assignment AS a (pipeline, incarnation, partition, owner, number, assigned_at)
SELECT $1, $2, t.partition, $3, t.number + 1, clock_timestamp()
FROM unnest($4::text[], $5::bigint[]) AS t (partition, number)
ORDER BY t.partition
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET owner = excluded.owner, number = excluded.number, assigned_at = excluded.assigned_at
WHERE a.number = excluded.number - 1
RETURNING a.partition, a.number
