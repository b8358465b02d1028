SELECT to_jsonb(stored)::text
FROM unnest($1::text[], $2::text[]) AS named (source, id)
JOIN millstream.task AS stored ON stored.source = named.source AND stored.id = named.id
