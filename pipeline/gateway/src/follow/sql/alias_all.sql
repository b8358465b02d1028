SELECT to_jsonb(stored)::text FROM millstream.alias AS stored
