SELECT partition, token::text, next_position
FROM millstream.lease
WHERE pipeline = $1 AND incarnation = $2 AND partition = ANY ($3::text[])
ORDER BY partition
FOR UPDATE
