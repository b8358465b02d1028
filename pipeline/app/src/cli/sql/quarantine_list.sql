SELECT id, pipeline, store, partition, position, index, reason, detail, record_key, octet_length(payload) AS payload_bytes,
       to_char(quarantined_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS quarantined_at
FROM millstream.quarantine
WHERE ($1::text IS NULL OR reason = $1) AND ($3::text IS NULL OR store = $3)
ORDER BY id
LIMIT $2
