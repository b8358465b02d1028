-- Instances that were gone by then and that no task names: one that is gone, too, may claim an address by its instance.
SELECT to_jsonb(i)::text
FROM millstream.instance AS i
WHERE i.rank > 0 AND i.at < to_timestamp($1 / 1000.0)
  AND NOT EXISTS (SELECT FROM millstream.task AS t WHERE t.source = i.source AND t.instance = i.id)
ORDER BY i.at
LIMIT $2
