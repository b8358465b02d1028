-- Tasks that were gone by then, but for those whose address a living task claims: without them it would be sent requests
-- of another one. Hosts are compared as a whole.
WITH gone AS MATERIALIZED (
    SELECT source, id, network, addresses, instance, at
    FROM millstream.task WHERE rank >= 2 AND at < to_timestamp($1 / 1000.0)
), living AS MATERIALIZED (
    SELECT network, addresses, instance FROM millstream.task WHERE rank < 2
), kept AS (
    SELECT g.source, g.id
    FROM (SELECT source, id, coalesce(network, '') AS network, unnest(addresses) AS address FROM gone) AS g
    JOIN (SELECT coalesce(network, '') AS network, unnest(addresses) AS address FROM living) AS l
        USING (network, address)
    UNION
    SELECT gone.source, gone.id FROM gone JOIN living USING (instance)
), purged AS (
    SELECT source, id FROM gone AS g
    WHERE NOT EXISTS (SELECT FROM kept WHERE kept.source = g.source AND kept.id = g.id)
    ORDER BY at
    LIMIT $2
)
SELECT to_jsonb(task)::text FROM purged JOIN millstream.task USING (source, id)
