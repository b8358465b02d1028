SELECT after::text FROM millstream.alias_history WHERE service = $1 AND alias = $2 AND generation < $3
ORDER BY generation DESC LIMIT 1
