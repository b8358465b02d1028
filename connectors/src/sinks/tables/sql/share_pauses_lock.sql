-- Those of these shares that are paused. Until this transaction ends none of them is resumed.
SELECT share FROM millstream.share_pause
WHERE pipeline = $1 AND share = ANY ($2::text[]) AND resumed_at IS NULL
ORDER BY share
FOR SHARE
