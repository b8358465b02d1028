DELETE FROM millstream.member WHERE pipeline = $1 AND incarnation = $2 AND name = $3
