-- The log up to a commit that is old enough, some of it at a time; the last commit stays.
WITH old AS (
    SELECT max(seq) AS seq FROM (
        SELECT seq FROM millstream.route_commit
        WHERE at < clock_timestamp() - make_interval(hours => $1)
          AND seq < (SELECT max(seq) FROM millstream.route_commit)
        ORDER BY seq
        LIMIT $2
    ) AS part
), entries AS (
    DELETE FROM millstream.route_log USING old WHERE route_log.seq <= old.seq
), commits AS (
    DELETE FROM millstream.route_commit USING old WHERE route_commit.seq <= old.seq
)
UPDATE millstream.route_identity SET pruned_to = old.seq FROM old WHERE old.seq > pruned_to
RETURNING pruned_to
