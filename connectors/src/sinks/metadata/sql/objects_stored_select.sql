-- What is stored of the keys of a batch, without locks. One descent of the key index per key, whatever the planner
-- believes about the size of the table: LIMIT keeps it from turning the loop around. A redelivered or superseded event
-- ends here, so of those only the ordinals are told. A hash of 0 stands for no description, a size of -1 for none.
-- Numbers are read from their arrays by place, which costs a tenth of what unnesting them costs; texts cannot be.
SELECT array_agg(ordinal) FILTER (WHERE verdict = 1) AS duplicates,
       array_agg(ordinal) FILTER (WHERE verdict = 2) AS stale,
       array_agg(ordinal) FILTER (WHERE verdict = 0) AS ordinal,
       array_agg(order_time) FILTER (WHERE verdict = 0) AS order_time,
       array_agg(order_seq) FILTER (WHERE verdict = 0) AS order_seq,
       array_agg(kind) FILTER (WHERE verdict = 0) AS kind,
       array_agg(etag) FILTER (WHERE verdict = 0) AS etag,
       array_agg(size) FILTER (WHERE verdict = 0) AS size,
       array_agg(order_class) FILTER (WHERE verdict = 0) AS order_class,
       array_agg(desc_time) FILTER (WHERE verdict = 0) AS desc_time,
       array_agg(desc_seq) FILTER (WHERE verdict = 0) AS desc_seq,
       array_agg(desc_hash) FILTER (WHERE verdict = 0) AS desc_hash,
       array_agg(versioned) FILTER (WHERE verdict = 0) AS versioned,
       array_agg(current) FILTER (WHERE verdict = 0) AS current,
       array_agg(place::text) FILTER (WHERE verdict = 0) AS place,
       array_agg(writer::text) FILTER (WHERE verdict = 0) AS writer
FROM (
    SELECT i.ordinal, o.*,
           CASE
               WHEN ($13::bigint[])[i.at] <> 0
                    AND (o.desc_time, o.desc_seq, o.desc_hash) <> (($11::bigint[])[i.at], ($12::bigint[])[i.at], ($13::bigint[])[i.at])
                    AND (o.desc_time, o.desc_seq) <= (($11::bigint[])[i.at], ($12::bigint[])[i.at]) THEN 0
               WHEN ($7::smallint[])[i.at] = 0 THEN 0
               WHEN o.order_time = ($5::bigint[])[i.at] AND o.order_seq = ($6::bigint[])[i.at] AND o.kind = ($7::smallint[])[i.at]
                    AND coalesce(o.size, -1) = ($8::bigint[])[i.at] AND o.order_class = ($9::smallint[])[i.at] AND o.etag = i.etag THEN 1
               WHEN (o.order_time, o.order_seq) > (($5::bigint[])[i.at], ($6::bigint[])[i.at]) THEN 2
               ELSE 0
           END AS verdict
    FROM (
        SELECT *, ordinal::int AS at
        FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
            WITH ORDINALITY AS i (bucket, key, version_id, etag, ordinal)
    ) AS i
    CROSS JOIN LATERAL (
        SELECT order_time, order_seq, kind, etag, size, order_class, desc_time, desc_seq, desc_hash, versioned, current,
               ctid AS place, xmin AS writer
        FROM millstream.objects
        WHERE bucket = i.bucket AND key = i.key AND store = ($14::text[])[($10::integer[])[i.at]] AND version_id = i.version_id
        LIMIT 1
    ) AS o
    OFFSET 0
) AS met
