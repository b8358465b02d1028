SELECT to_jsonb(stored)::text FROM millstream.task AS stored
