SELECT id, pipeline, incarnation, partition, position, index, reason, detail, sqlstate, store, record_key, headers::text, payload,
       to_char(published_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS published_at,
       to_char(quarantined_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS quarantined_at
FROM millstream.quarantine
WHERE id = $1
