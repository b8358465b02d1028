INSERT INTO millstream.task_floor AS floor (source, created_ms)
SELECT DISTINCT source, $2::bigint FROM unnest($1::text[]) AS gone (source)
ON CONFLICT (source) DO UPDATE SET created_ms = greatest(floor.created_ms, excluded.created_ms)
