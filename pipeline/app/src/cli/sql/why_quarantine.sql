-- Rows that may be about an object: those under its own key first, then the latest.
SELECT id, pipeline, partition, position, index, reason, detail, record_key, headers::text AS headers, payload,
       floor(extract(epoch FROM published_at) * 1000)::bigint AS published_at_ms
FROM millstream.quarantine
WHERE $2::text IS NULL OR store = $2
ORDER BY record_key = $1 DESC, id DESC
LIMIT $3
