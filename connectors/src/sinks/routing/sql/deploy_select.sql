SELECT to_jsonb(stored)::text
FROM unnest($1::text[], $2::text[]) AS named (service, revision)
JOIN millstream.deploy AS stored ON stored.service = named.service AND stored.revision = named.revision
