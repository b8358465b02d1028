UPDATE millstream.quarantine q
SET reason = i.reason, detail = i.detail, sqlstate = i.sqlstate
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS i (id, reason, detail, sqlstate)
-- What the database says is of the record as a whole; rows of its events keep their own reasons.
WHERE q.id = i.id AND (i.sqlstate IS NULL OR q.index = -1)
