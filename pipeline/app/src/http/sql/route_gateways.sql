-- What each live gateway serves of an alias: the last thing that it wrote of it.
SELECT jsonb_build_object('gateway', g.gateway, 'generation', served.generation, 'state', coalesce(served.state, 'unknown'),
                          'reason', served.reason, 'since', served.since)::text
FROM millstream.gateway AS g
LEFT JOIN LATERAL (
    SELECT * FROM millstream.gateway_alias AS ga
    WHERE ga.service = $1 AND ga.alias = $2 AND ga.gateway = g.gateway
    ORDER BY ga.since DESC LIMIT 1
) AS served ON true
WHERE g.seen_at > clock_timestamp() - interval '5 seconds'
ORDER BY g.gateway
