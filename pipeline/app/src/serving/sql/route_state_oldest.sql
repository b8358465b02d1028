-- The partition that was read to its end longest ago, and how long ago by the clock of the database.
SELECT pipeline, partition, extract(epoch FROM clock_timestamp() - read_to_end_at)::double precision
FROM millstream.route_state
ORDER BY read_to_end_at, pipeline, partition
LIMIT 1
