SELECT id, pipeline, partition, position, index, reason, detail
FROM millstream.quarantine
WHERE record_key = $1 AND ($2::text IS NULL OR store = $2)
ORDER BY id
