-- Pauses a share. One that is paused stays as it is; one that was resumed is paused again.
INSERT INTO millstream.share_pause AS p (pipeline, share, reason)
VALUES ($1, $2, $3)
ON CONFLICT (pipeline, share) DO UPDATE
SET reason = excluded.reason, paused_at = clock_timestamp(), resumed_at = NULL
WHERE p.resumed_at IS NOT NULL
