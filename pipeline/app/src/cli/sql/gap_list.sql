SELECT pipeline, partition, from_position, to_position, reason,
       to_char(found_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS found_at
FROM millstream.gap
WHERE $1::text IS NULL OR pipeline = $1
ORDER BY gap.found_at DESC
LIMIT 20
