SELECT to_jsonb(stored)::text
FROM unnest($1::text[], $2::text[], $3::integer[]) AS named (source, task, port)
JOIN millstream.health AS stored ON stored.source = named.source AND stored.task = named.task AND stored.port = named.port
