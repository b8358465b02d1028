SELECT to_jsonb(health)::text
FROM unnest($1::text[], $2::text[]) AS gone (source, id)
JOIN millstream.health ON health.source = gone.source AND health.task = gone.id
