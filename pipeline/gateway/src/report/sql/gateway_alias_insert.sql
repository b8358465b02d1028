INSERT INTO millstream.gateway_alias (gateway, service, alias, since, generation, state, reason)
SELECT $1, service, alias, clock_timestamp(), generation, state, reason
FROM jsonb_to_recordset($2::jsonb) AS served (service text, alias text, generation bigint, state text, reason text)
ON CONFLICT DO NOTHING
