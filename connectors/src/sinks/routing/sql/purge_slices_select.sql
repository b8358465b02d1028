-- Slices that were gone by then, but for those without which a living pod might be sent requests: a service that is known
-- by slices takes none but what a living slice names.
SELECT to_jsonb(s)::text
FROM millstream.slice AS s
WHERE s.rank > 0 AND s.at < to_timestamp($1 / 1000.0)
  AND NOT EXISTS (
      SELECT FROM millstream.task AS t
      WHERE t.source = s.source AND t.namespace = s.namespace AND t.rank < 2
        AND NOT EXISTS (
            SELECT FROM millstream.slice AS other
            WHERE other.source = s.source AND other.namespace = s.namespace AND other.service = s.service AND other.rank <= 0
        )
  )
ORDER BY s.at
LIMIT $2
