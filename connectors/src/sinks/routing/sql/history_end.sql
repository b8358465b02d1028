UPDATE millstream.alias_history SET valid = tstzrange(lower(valid), $3::timestamptz)
WHERE service = $1 AND alias = $2 AND upper_inf(valid)
