INSERT INTO millstream.alias_history (service, alias, generation, after, valid)
VALUES ($1, $2, $3, $4::jsonb, tstzrange($5::timestamptz, NULL))
