INSERT INTO millstream.route_log (seq, kind, key, after)
SELECT seq, kind, ARRAY(SELECT jsonb_array_elements_text(key)), after
FROM jsonb_to_recordset($1::jsonb) AS change (seq bigint, kind text, key jsonb, after jsonb)
