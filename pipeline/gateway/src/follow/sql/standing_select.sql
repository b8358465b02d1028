-- Which history this is, and its last commit.
SELECT identity::text, commit.seq, commit.digest, commit.at::text
FROM millstream.route_identity, LATERAL (SELECT * FROM millstream.route_commit ORDER BY seq DESC LIMIT 1) AS commit
