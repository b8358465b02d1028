-- A gateway that has written nothing for five seconds is not alive.
SELECT jsonb_build_object('gateway', gateway, 'address', address, 'seq', seq, 'state', state, 'in_flight', in_flight,
                          'alive', seen_at > clock_timestamp() - interval '5 seconds', 'seen_at', seen_at)::text
FROM millstream.gateway ORDER BY gateway
