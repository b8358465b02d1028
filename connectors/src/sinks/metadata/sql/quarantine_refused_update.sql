UPDATE millstream.quarantine q
SET reason = i.reason, detail = i.detail, sqlstate = NULL
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS i (id, reason, detail)
WHERE q.id = i.id
