-- The generation before the newest of each alias.
SELECT history.after::text
FROM millstream.alias
JOIN LATERAL (
    SELECT h.after FROM millstream.alias_history AS h
    WHERE h.service = alias.service AND h.alias = alias.alias AND h.generation < alias.generation
    ORDER BY h.generation DESC LIMIT 1
) AS history ON true
WHERE NOT alias.deleted
