-- Tasks that were gone by then, but for those whose address a living task claims: without them it would be sent requests
-- of another one. Hosts are compared as a whole.
SELECT to_jsonb(gone)::text
FROM millstream.task AS gone
WHERE gone.rank >= 2 AND gone.at < to_timestamp($1 / 1000.0)
  AND NOT EXISTS (
      SELECT FROM millstream.task AS living
      WHERE living.rank < 2 AND living.network IS NOT DISTINCT FROM gone.network
        AND (living.addresses && gone.addresses OR living.instance = gone.instance)
  )
ORDER BY gone.at
LIMIT $2
