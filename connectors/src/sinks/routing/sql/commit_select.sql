-- The last change of all, read after the turn was taken, and a time that is later than that of every commit before.
SELECT seq, digest, greatest(clock_timestamp(), at + interval '1 microsecond')::text
FROM millstream.route_commit ORDER BY seq DESC LIMIT 1
