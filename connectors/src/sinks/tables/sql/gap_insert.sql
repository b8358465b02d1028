INSERT INTO millstream.gap (pipeline, incarnation, partition, from_position, to_position, reason)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
