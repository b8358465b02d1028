-- The next records of a resumed share that were kept; none once the share is paused again.
SELECT q.id, octet_length(q.payload)::bigint
FROM millstream.quarantine q
WHERE q.pipeline = $1 AND q.store = $2 AND q.reason = 'share_paused'
  AND EXISTS (SELECT FROM millstream.share_pause p WHERE p.pipeline = $1 AND p.share = $2 AND p.resumed_at IS NOT NULL)
ORDER BY q.id
LIMIT $3
