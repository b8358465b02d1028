-- A program that knew no floors made the table without the last two columns.
SELECT m.number, m.name, (to_jsonb(m) ->> 'floor')::integer AS floor, to_jsonb(m) ->> 'checksum' AS checksum
FROM millstream.migration m
ORDER BY m.number
