-- The last thing that each gateway had written of an alias by then.
SELECT jsonb_build_object('gateway', gateway, 'generation', generation, 'state', state, 'reason', reason, 'since', since)::text
FROM (
    SELECT DISTINCT ON (gateway) * FROM millstream.gateway_alias
    WHERE service = $1 AND alias = $2 AND since <= $3::text::timestamptz
    ORDER BY gateway, since DESC
) AS served
ORDER BY gateway
