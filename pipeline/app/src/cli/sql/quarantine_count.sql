SELECT reason, count(*) FROM millstream.quarantine GROUP BY reason ORDER BY 2 DESC, 1
