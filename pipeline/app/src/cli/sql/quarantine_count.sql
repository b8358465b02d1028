SELECT reason, count(*) FROM millstream.quarantine WHERE $1::text IS NULL OR store = $1 GROUP BY reason ORDER BY 2 DESC, 1
