-- What a request made, if it was made before.
SELECT after::text FROM millstream.alias_history
WHERE service = $1 AND alias = $2 AND after ->> 'change_id' = $3
ORDER BY generation LIMIT 1
