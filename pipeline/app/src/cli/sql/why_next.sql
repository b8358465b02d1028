SELECT partition, next_position FROM millstream.lease WHERE pipeline = $1 AND incarnation = $2
