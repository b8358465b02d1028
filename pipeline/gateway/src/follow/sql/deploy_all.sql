SELECT to_jsonb(stored)::text FROM millstream.deploy AS stored
