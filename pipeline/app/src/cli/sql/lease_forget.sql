DELETE FROM millstream.lease WHERE pipeline = $1
