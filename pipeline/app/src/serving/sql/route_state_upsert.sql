-- Stamps the partitions that were read to their end a moment ago. One that was not yet begins with the time at which
-- somebody first had it. The age of all is that of the oldest, so what nobody will ever stamp again is removed: partitions
-- that have ended, as shards do, those of a stream that was made anew, those of a pipeline that has another name now
-- (nobody has them, and the same stream is read by this one), and those of a pipeline that nobody has had for an hour.
WITH own AS (
    SELECT DISTINCT pipeline, incarnation FROM unnest($1::text[], $2::text[]) AS p (pipeline, incarnation)
), read AS (
    SELECT i.pipeline, i.incarnation, i.partition
    FROM unnest($1::text[], $2::text[], $3::text[]) AS i (pipeline, incarnation, partition)
    WHERE NOT EXISTS (
        SELECT FROM millstream.lease l
        WHERE l.pipeline = i.pipeline AND l.incarnation = i.incarnation AND l.partition = i.partition AND l.next_position = 'end'
    )
), ended AS (
    DELETE FROM millstream.route_state s
    USING own
    WHERE s.pipeline = own.pipeline AND (s.incarnation <> own.incarnation OR EXISTS (
        SELECT FROM millstream.lease l
        WHERE l.pipeline = s.pipeline AND l.incarnation = s.incarnation AND l.partition = s.partition AND l.next_position = 'end'
    ))
), gone AS (
    DELETE FROM millstream.route_state s
    WHERE s.pipeline NOT IN (SELECT pipeline FROM own)
      AND (SELECT max(coalesce(o.seen_at, o.read_to_end_at)) FROM millstream.route_state o WHERE o.pipeline = s.pipeline)
          < clock_timestamp() - CASE WHEN s.incarnation IN (SELECT incarnation FROM own) THEN interval '10 s' ELSE interval '1 hour' END
)
INSERT INTO millstream.route_state AS s (pipeline, incarnation, partition, read_to_end_at, seen_at)
SELECT pipeline, incarnation, partition, clock_timestamp(), clock_timestamp()
FROM read
ORDER BY pipeline, incarnation, partition
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET seen_at = greatest(s.seen_at, excluded.seen_at),
    read_to_end_at = CASE WHEN (excluded.pipeline, excluded.partition) IN (SELECT * FROM unnest($4::text[], $5::text[]))
                          THEN greatest(s.read_to_end_at, excluded.read_to_end_at) ELSE s.read_to_end_at END
