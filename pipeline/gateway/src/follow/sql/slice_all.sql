SELECT to_jsonb(stored)::text FROM millstream.slice AS stored
