SELECT to_jsonb(stored)::text
FROM unnest($1::text[], $2::text[]) AS named (service, alias)
JOIN millstream.alias AS stored ON stored.service = named.service AND stored.alias = named.alias
