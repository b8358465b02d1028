SELECT name FROM millstream.member
WHERE pipeline = $1 AND incarnation = $2 AND seen_at > clock_timestamp() - make_interval(secs => $3)
