-- The rows that a person chose: by number, by reason, by store, or all.
SELECT id, octet_length(payload)::bigint AS payload_bytes, pipeline
FROM millstream.quarantine
WHERE ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR reason = $2) AND ($3::text IS NULL OR store = $3)
ORDER BY pipeline, id
