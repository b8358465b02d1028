-- Resumes a share. Waits for the transactions that put records of it aside, so that a redrive finds all of them.
UPDATE millstream.share_pause SET resumed_at = clock_timestamp()
WHERE pipeline = $1 AND share = $2 AND resumed_at IS NULL
