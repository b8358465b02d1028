SELECT (extract(epoch FROM $1::text::timestamptz) * 1000)::bigint
