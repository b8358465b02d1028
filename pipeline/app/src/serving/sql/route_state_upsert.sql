-- Stamps the partitions that were read to their end a moment ago. One that was not yet begins with the time at which
-- somebody first had it. Removed are partitions that have ended, as shards do, and those of a stream that was made anew:
-- nobody stamps them any more, and the age of all is that of the oldest.
WITH read AS (
    SELECT i.pipeline, i.incarnation, i.partition
    FROM unnest($1::text[], $2::text[], $3::text[]) AS i (pipeline, incarnation, partition)
    WHERE NOT EXISTS (
        SELECT FROM millstream.lease l
        WHERE l.pipeline = i.pipeline AND l.incarnation = i.incarnation AND l.partition = i.partition AND l.next_position = 'end'
    )
), gone AS (
    DELETE FROM millstream.route_state s
    USING (SELECT DISTINCT pipeline, incarnation FROM unnest($1::text[], $2::text[]) AS p (pipeline, incarnation)) AS p
    WHERE s.pipeline = p.pipeline AND (s.incarnation <> p.incarnation OR EXISTS (
        SELECT FROM millstream.lease l
        WHERE l.pipeline = s.pipeline AND l.incarnation = s.incarnation AND l.partition = s.partition AND l.next_position = 'end'
    ))
)
INSERT INTO millstream.route_state AS s (pipeline, incarnation, partition, read_to_end_at)
SELECT pipeline, incarnation, partition, clock_timestamp()
FROM read
ORDER BY pipeline, incarnation, partition
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET read_to_end_at = greatest(s.read_to_end_at, excluded.read_to_end_at)
WHERE (excluded.pipeline, excluded.partition) IN (SELECT * FROM unnest($4::text[], $5::text[]))
