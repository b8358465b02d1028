-- The mark stays until a person moves the position. Since when it stands is not changed by the same loss met again.
UPDATE millstream.lease
SET halted_at = coalesce(halted_at, clock_timestamp()), halt_reason = $4
WHERE pipeline = $1 AND incarnation = $2 AND partition = $3
