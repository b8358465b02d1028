SELECT to_jsonb(stored)::text FROM millstream.deploy AS stored WHERE service = $1 AND revision = $2
