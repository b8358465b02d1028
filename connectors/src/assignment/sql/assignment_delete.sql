DELETE FROM millstream.assignment
WHERE pipeline = $1 AND incarnation = $2 AND owner = $3 AND partition = ANY ($4::text[])
