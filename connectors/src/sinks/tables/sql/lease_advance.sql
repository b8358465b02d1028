UPDATE millstream.lease l
SET next_position = a.next_position, era = a.era, renewed_at = clock_timestamp()
FROM unnest($3::text[], $4::text[], $5::bigint[]) AS a (partition, next_position, era)
WHERE l.pipeline = $1 AND l.incarnation = $2 AND l.partition = a.partition
