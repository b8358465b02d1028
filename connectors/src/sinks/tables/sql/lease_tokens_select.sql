SELECT partition FROM millstream.lease
WHERE pipeline = $1 AND incarnation = $2 AND partition = ANY ($3::text[]) AND token = $4::uuid
