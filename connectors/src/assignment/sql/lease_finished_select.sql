SELECT partition, coalesce(next_position = $3, false) FROM millstream.lease WHERE pipeline = $1 AND incarnation = $2
