DELETE FROM millstream.quarantine
WHERE ($1::bigint[] IS NULL OR id = ANY ($1)) AND ($2::text IS NULL OR reason = $2) AND ($3::text IS NULL OR store = $3)
