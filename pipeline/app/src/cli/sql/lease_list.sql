SELECT pipeline, incarnation, partition, owner, epoch, next_position, halt_reason,
       extract(epoch FROM clock_timestamp() - halted_at)::double precision AS halted_seconds,
       extract(epoch FROM clock_timestamp() - renewed_at)::double precision AS age_seconds
FROM millstream.lease
WHERE $1::text IS NULL OR pipeline = $1
ORDER BY pipeline, incarnation, length(partition), partition
