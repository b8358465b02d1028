-- How many records of a paused share are kept, as it is counted beside the quarantine.
SELECT coalesce(sum(rows_aside), 0)::bigint FROM millstream.quarantine_change WHERE pipeline = $1 AND share = $2
