-- Keeps removals of whole keys in the head rows, which are locked; those given are newer than what the heads have.
WITH heads AS MATERIALIZED (
    SELECT o.place, i.removed_time, i.removed_seq, i.removed_class
    FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::smallint[])
        AS i (store, bucket, key, removed_time, removed_seq, removed_class)
    CROSS JOIN LATERAL (
        SELECT ctid AS place
        FROM millstream.objects
        WHERE bucket = i.bucket AND key = i.key AND store = i.store AND version_id = ''
        LIMIT 1
    ) AS o
)
UPDATE millstream.objects o
SET removed_time = h.removed_time, removed_seq = h.removed_seq, removed_class = h.removed_class
FROM heads h
WHERE o.ctid = h.place
