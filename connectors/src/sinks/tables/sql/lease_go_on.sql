-- Moves the position of a partition past a gap, with the record of the gap. Nothing is done if the row is another
-- writer's. A row that is made here belongs to nobody until it is acquired.
WITH wait AS MATERIALIZED (SELECT set_config('lock_timeout', $10, true) AS ms),
moved AS (
    INSERT INTO millstream.lease AS l (pipeline, incarnation, partition, owner, epoch, token, next_position, era, renewed_at)
    SELECT $1, $2, $3, 'went on after a gap', 1, gen_random_uuid(), $7, $8, clock_timestamp()
    FROM wait WHERE wait.ms IS NOT NULL
    ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
    SET next_position = excluded.next_position, era = excluded.era, renewed_at = excluded.renewed_at
    WHERE l.token::text = $9
    RETURNING l.partition
), noted AS (
    INSERT INTO millstream.gap (pipeline, incarnation, partition, from_position, to_position, reason)
    SELECT $1, $2, partition, $4, $5, $6 FROM moved
    ON CONFLICT DO NOTHING
)
SELECT count(*) FROM moved
