INSERT INTO millstream.route_commit (seq, digest, at) VALUES ($1, $2, $3::timestamptz)
