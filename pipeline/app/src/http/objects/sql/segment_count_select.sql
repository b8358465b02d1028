-- The last column says whether the sums are the whole truth: the segment is counted, or none was ever left uncounted.
SELECT coalesce(sum(objects), 0)::bigint, coalesce(sum(bytes), 0)::text, coalesce(sum(unknown_size), 0)::bigint,
       EXISTS (SELECT FROM millstream.segment s WHERE s.store = $1 AND s.bucket = $2 AND s.segment = $3)
       OR NOT EXISTS (SELECT FROM millstream.segment_limit l WHERE l.store = $1 AND l.bucket = $2 AND l.exceeded)
FROM millstream.segment_sum
WHERE store = $1 AND bucket = $2 AND segment = $3
