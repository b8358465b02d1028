-- Ends the pause of a resumed share once everything that was kept is written.
DELETE FROM millstream.share_pause p
WHERE p.pipeline = $1 AND p.share = $2 AND p.resumed_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM millstream.quarantine q WHERE q.pipeline = $1 AND q.store = $2 AND q.reason = 'share_paused')
