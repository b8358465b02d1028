DELETE FROM millstream.instance AS stored
USING unnest($1::text[], $2::text[]) AS gone (source, id)
WHERE stored.source = gone.source AND stored.id = gone.id
