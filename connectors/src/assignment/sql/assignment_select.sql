SELECT partition, owner, number FROM millstream.assignment WHERE pipeline = $1 AND incarnation = $2
