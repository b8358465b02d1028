-- Each table as a number of rows and a sum over them, without the slots that counters happen to stand in, and without
-- counters that came back to nothing, which are there or not as batches happen to be cut.
SELECT 'objects' AS name, count(*) AS rows, sum(hashtextextended(o::text, 0)::numeric)::text AS sum
FROM millstream.objects o
UNION ALL
SELECT 'object_counts', count(*), sum(hashtextextended(c::text, 0)::numeric)::text FROM analytics.object_counts c WHERE c.objects <> 0
UNION ALL
SELECT 'uploads_hourly', count(*), sum(hashtextextended(h::text, 0)::numeric)::text FROM analytics.uploads_hourly h WHERE h.created + h.removed <> 0
ORDER BY name
