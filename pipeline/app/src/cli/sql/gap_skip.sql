-- What a person chose not to read is on record.
INSERT INTO millstream.gap (pipeline, incarnation, partition, from_position, to_position, reason)
VALUES ($1, $2, $3, $4, $5, 'skipped by millstream positions reset')
ON CONFLICT DO NOTHING
