-- One row at least: the standing of the log stands beside every change.
SELECT identity::text, pruned_to,
       (SELECT max(seq) FROM millstream.route_commit),
       (SELECT digest FROM millstream.route_commit WHERE seq = $1),
       log.seq, log.kind, log.key, log.after::text, log.digest
FROM millstream.route_identity
LEFT JOIN LATERAL (
    SELECT l.seq, l.kind, l.key, l.after, c.digest
    FROM millstream.route_log AS l LEFT JOIN millstream.route_commit AS c ON c.seq = l.seq
    WHERE l.seq > $2
    ORDER BY l.seq
    LIMIT $3
) AS log ON true
ORDER BY log.seq
