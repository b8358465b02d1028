SELECT (after || jsonb_build_object('valid_from', lower(valid), 'valid_to', upper(valid)))::text
FROM millstream.alias_history
WHERE service = $1 AND alias = $2 AND valid @> $3::text::timestamptz
