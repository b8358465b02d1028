-- Gateways that have not been seen for a day, and what they served before that; of living ones, what is old and was
-- followed by something that is old, too.
WITH gone AS (
    DELETE FROM millstream.gateway WHERE seen_at < clock_timestamp() - interval '1 day'
)
DELETE FROM millstream.gateway_alias AS served
WHERE served.since < clock_timestamp() - make_interval(hours => $1)
  AND (
      NOT EXISTS (
          SELECT FROM millstream.gateway AS living
          WHERE living.gateway = served.gateway AND living.seen_at >= clock_timestamp() - interval '1 day'
      )
      OR EXISTS (
          SELECT FROM millstream.gateway_alias AS later
          WHERE (later.service, later.alias, later.gateway) = (served.service, served.alias, served.gateway)
            AND later.since > served.since AND later.since < clock_timestamp() - make_interval(hours => $1)
      )
  )
