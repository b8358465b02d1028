SELECT to_jsonb(stored)::text FROM millstream.alias AS stored WHERE service = $1 AND alias = $2
