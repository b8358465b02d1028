-- Shows that we live, and removes whoever has not for so long that nobody asks any more.
WITH gone AS (
    DELETE FROM millstream.member
    WHERE pipeline = $1 AND incarnation = $2 AND name <> $3 AND seen_at < clock_timestamp() - interval '1 day'
)
INSERT INTO millstream.member AS m (pipeline, incarnation, name, joined_at, seen_at)
VALUES ($1, $2, $3, clock_timestamp(), clock_timestamp())
ON CONFLICT (pipeline, incarnation, name) DO UPDATE SET seen_at = excluded.seen_at
