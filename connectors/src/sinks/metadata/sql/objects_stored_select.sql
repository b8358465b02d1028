-- What is stored of the keys of a batch, without locks. One descent of the key index per key, whatever the planner
-- believes about the size of the table: LIMIT keeps it from turning the loop around. A redelivered or superseded event
-- ends here, so of those only the ordinals are told, all in the last row. A hash of 0 stands for no description.
WITH met AS MATERIALIZED (
    SELECT i.ordinal, o.*,
           CASE
               WHEN i.desc_hash <> 0
                    AND (o.desc_time, o.desc_seq, o.desc_hash) <> (i.desc_time, i.desc_seq, i.desc_hash)
                    AND (o.desc_time, o.desc_seq) <= (i.desc_time, i.desc_seq) THEN 'changes'
               WHEN i.kind <> 0 AND o.order_time = i.order_time AND o.order_seq = i.order_seq AND o.kind = i.kind AND o.etag = i.etag
                    AND o.size IS NOT DISTINCT FROM i.size AND o.order_class = i.order_class THEN 'duplicate'
               WHEN i.kind <> 0 AND (o.order_time, o.order_seq) > (i.order_time, i.order_seq) THEN 'stale'
               ELSE 'changes'
           END AS verdict
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::smallint[], $8::text[],
                $9::bigint[], $10::smallint[], $11::bigint[], $12::bigint[], $13::bigint[])
        WITH ORDINALITY AS i (store, bucket, key, version_id, order_time, order_seq, kind, etag,
                              size, order_class, desc_time, desc_seq, desc_hash, ordinal)
    CROSS JOIN LATERAL (
        SELECT order_time, order_seq, kind, etag, size, order_class, desc_time, desc_seq, desc_hash, versioned, current,
               ctid, xmin
        FROM millstream.objects
        WHERE bucket = i.bucket AND key = i.key AND store = i.store AND version_id = i.version_id
        LIMIT 1
    ) AS o
)
SELECT ordinal, order_time, order_seq, kind, etag, size, order_class, desc_time, desc_seq, desc_hash, versioned, current,
       ctid::text AS place, xmin::text AS writer, NULL::bigint[] AS duplicates, NULL::bigint[] AS stale
FROM met
WHERE verdict = 'changes'
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
       array_agg(ordinal) FILTER (WHERE verdict = 'duplicate'), array_agg(ordinal) FILTER (WHERE verdict = 'stale')
FROM met
