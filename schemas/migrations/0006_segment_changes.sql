-- Changes of many counters of first path segments, one row for each transaction: thousands of counters a transaction
-- would otherwise be updated one by one. A writer adds those of its slot up and into segment_count now and then; until
-- then whoever reads adds them up. See pipeline/decisions/0011-changes-of-many-segments.md.
CREATE TABLE millstream.segment_change (
    slot         smallint  NOT NULL,
    number       bigint    GENERATED ALWAYS AS IDENTITY,
    -- One element for each counter.
    store        text[]    NOT NULL COLLATE "C",
    bucket       text[]    NOT NULL COLLATE "C",
    segment      text[]    NOT NULL COLLATE "C",
    objects      bigint[]  NOT NULL,
    bytes        numeric[] NOT NULL,
    unknown_size bigint[]  NOT NULL,
    PRIMARY KEY (slot, number)
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 20000
);
-- They live for seconds: packing them would cost more than it saves.
ALTER TABLE millstream.segment_change
    ALTER COLUMN store SET STORAGE EXTERNAL,
    ALTER COLUMN bucket SET STORAGE EXTERNAL,
    ALTER COLUMN segment SET STORAGE EXTERNAL,
    ALTER COLUMN objects SET STORAGE EXTERNAL,
    ALTER COLUMN bytes SET STORAGE EXTERNAL,
    ALTER COLUMN unknown_size SET STORAGE EXTERNAL;

-- The counters of segments, with what was not added up yet.
CREATE VIEW millstream.segment_sum AS
SELECT store, bucket, segment, sum(objects)::bigint AS objects, sum(bytes) AS bytes, sum(unknown_size)::bigint AS unknown_size
FROM (
    SELECT store, bucket, segment, objects, bytes, unknown_size FROM millstream.segment_count
    UNION ALL
    SELECT e.store, e.bucket, e.segment, e.objects, e.bytes, e.unknown_size
    FROM millstream.segment_change c
    CROSS JOIN LATERAL unnest(c.store, c.bucket, c.segment, c.objects, c.bytes, c.unknown_size)
        AS e (store, bucket, segment, objects, bytes, unknown_size)
) AS u
GROUP BY store, bucket, segment;

CREATE OR REPLACE VIEW analytics.object_counts AS
SELECT store, bucket, NULL::text AS segment, sum(objects)::bigint AS objects, sum(bytes) AS bytes, sum(unknown_size)::bigint AS unknown_size
FROM millstream.bucket_count GROUP BY store, bucket
UNION ALL
SELECT store, bucket, segment, objects, bytes, unknown_size FROM millstream.segment_sum;
