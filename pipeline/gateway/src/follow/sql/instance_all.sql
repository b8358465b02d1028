SELECT to_jsonb(stored)::text FROM millstream.instance AS stored
