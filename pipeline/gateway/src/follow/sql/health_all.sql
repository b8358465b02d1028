SELECT to_jsonb(stored)::text FROM millstream.health AS stored
