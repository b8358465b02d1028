-- How many rows a purge would remove: see purge_tasks_select.sql, purge_instances_select.sql and purge_slices_select.sql. What
-- belongs to those tasks only is removed after them.
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
)
SELECT (SELECT count(*) FROM purged)
     + (SELECT count(*) FROM millstream.instance AS i
        WHERE i.rank > 0 AND i.at < to_timestamp($1 / 1000.0) AND NOT EXISTS (
            SELECT FROM millstream.task AS t
            WHERE t.source = i.source AND t.instance = i.id
              AND NOT EXISTS (SELECT FROM purged WHERE purged.source = t.source AND purged.id = t.id)
        ))
     + (SELECT count(*) FROM millstream.slice AS s
        WHERE s.rank > 0 AND s.at < to_timestamp($1 / 1000.0) AND NOT EXISTS (
            SELECT FROM millstream.task AS t WHERE t.source = s.source AND t.namespace = s.namespace AND t.rank < 2
            AND NOT EXISTS (
                SELECT FROM millstream.slice AS other
                WHERE other.source = s.source AND other.namespace = s.namespace AND other.service = s.service AND other.rank <= 0
            )
        ))
