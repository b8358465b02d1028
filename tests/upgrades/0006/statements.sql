-- counts_apply.sql
INSERT INTO millstream.bucket_count AS c (store, bucket, slot, objects, bytes, unknown_size)
SELECT i.store, i.bucket, $1, i.objects, i.bytes::numeric, i.unknown_size
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[]) AS i (store, bucket, objects, bytes, unknown_size)
ORDER BY i.store COLLATE "C", i.bucket COLLATE "C"
ON CONFLICT (store, bucket, slot) DO UPDATE
SET objects = c.objects + excluded.objects, bytes = c.bytes + excluded.bytes, unknown_size = c.unknown_size + excluded.unknown_size

-- current_derive.sql
-- Current is the live row of highest order for the key, if that is not a marker. The head rows are locked, so no version
-- of these keys comes or goes meanwhile.
WITH ranked AS MATERIALIZED (
    SELECT o.ctid AS place, o.current AS was,
           o.kind = 1 AND row_number() OVER (
               PARTITION BY i.ordinal
               ORDER BY (o.kind IN (1, 2)) DESC, o.order_time DESC, o.order_seq DESC, o.kind DESC, o.version_id DESC, o.etag DESC
           ) = 1 AS current
    FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, key, ordinal)
    CROSS JOIN LATERAL (
        SELECT ctid, *
        FROM millstream.objects
        WHERE store = i.store AND bucket = i.bucket AND key = i.key
        OFFSET 0
    ) AS o
)
UPDATE millstream.objects o
SET current = r.current
FROM ranked r
WHERE o.ctid = r.place AND r.was <> r.current

-- current_select.sql
SELECT i.ordinal, o.size
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, key, ordinal)
CROSS JOIN LATERAL (
    SELECT size
    FROM millstream.objects
    WHERE store = i.store AND bucket = i.bucket AND key = i.key AND current
    LIMIT 1
) AS o

-- gap_insert.sql
INSERT INTO millstream.gap (pipeline, incarnation, partition, from_position, to_position, reason)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING

-- heads_lock.sql
-- The row of version '' is the head of a key with versions: it is made if it is not there, marked, and locked, in key
-- order, so that who derives `current` sees every version that was committed.
INSERT INTO millstream.objects AS o (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class,
    current, versioned, store, bucket, key, version_id, etag)
SELECT -9223372036854775808, -9223372036854775808, -9223372036854775808, -9223372036854775808, 0, NULL, 0, 0,
       false, true, i.store, i.bucket, i.key, '', ''
FROM unnest($1::text[], $2::text[], $3::text[]) AS i (store, bucket, key)
ORDER BY i.bucket COLLATE "C", i.key COLLATE "C", i.store COLLATE "C"
ON CONFLICT (store, bucket, key, version_id) DO UPDATE SET versioned = true WHERE NOT o.versioned

-- hour_counts_apply.sql
INSERT INTO millstream.hour_count AS c (store, bucket, hour, slot, created, removed, bytes)
SELECT i.store, i.bucket, to_timestamp(i.hour * 3600), $1, i.created, i.removed, i.bytes::numeric
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[]) AS i (store, bucket, hour, created, removed, bytes)
ORDER BY i.store COLLATE "C", i.bucket COLLATE "C", i.hour
ON CONFLICT (store, bucket, hour, slot) DO UPDATE
SET created = c.created + excluded.created, removed = c.removed + excluded.removed, bytes = c.bytes + excluded.bytes

-- lease_acquire.sql
-- One statement is one transaction, so the limit of the wait is said inside of it, before the first row is locked.
WITH wait AS MATERIALIZED (SELECT set_config('lock_timeout', $6, true) AS ms)
INSERT INTO millstream.lease AS l (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at)
SELECT $1, $2, p, $4, 1, $5::uuid, NULL, clock_timestamp()
FROM wait CROSS JOIN unnest($3::text[]) AS p
WHERE wait.ms IS NOT NULL
ORDER BY p
ON CONFLICT (pipeline, incarnation, partition) DO UPDATE
SET owner = excluded.owner, epoch = l.epoch + 1, token = excluded.token, renewed_at = clock_timestamp()
RETURNING partition, next_position

-- lease_advance.sql
WITH slot AS (
    UPDATE millstream.slot SET renewed_at = clock_timestamp() WHERE slot = $5 AND token = $6::uuid
)
UPDATE millstream.lease l
SET next_position = a.next_position, renewed_at = clock_timestamp()
FROM unnest($3::text[], $4::text[]) AS a (partition, next_position)
WHERE l.pipeline = $1 AND l.incarnation = $2 AND l.partition = a.partition

-- lease_holders_end.sql
-- Ends the sessions that have kept these leases locked for too long. A writer that stands still inside a COPY is reached
-- by no timeout of PostgreSQL, only by this. Locking a row leaves the number of the transaction in it, and that number is
-- locked by the session it runs in. Sessions of our own role may be ended without any privilege.
WITH holder AS MATERIALIZED (
    SELECT a.pid, a.state, min(l.owner) AS owner, string_agg(l.partition, ', ' ORDER BY l.partition) AS partitions,
           (extract(epoch FROM clock_timestamp() - min(a.xact_start)))::bigint AS seconds
    FROM millstream.lease l
    JOIN pg_locks k ON k.locktype = 'transactionid' AND k.transactionid = l.xmax AND k.mode = 'ExclusiveLock' AND k.granted
    JOIN pg_stat_activity a ON a.pid = k.pid AND a.usename = current_user AND a.pid <> pg_backend_pid()
    WHERE l.pipeline = $1 AND l.incarnation = $2 AND l.partition = ANY ($3::text[])
      AND greatest(l.renewed_at, a.xact_start) < clock_timestamp() - make_interval(secs => $4)
    GROUP BY a.pid, a.state
)
SELECT pid, state, owner, partitions, seconds, pg_terminate_backend(pid) AS ended FROM holder

-- lease_lock.sql
SELECT partition, token::text, next_position
FROM millstream.lease
WHERE pipeline = $1 AND incarnation = $2 AND partition = ANY ($3::text[])
ORDER BY partition
FOR UPDATE

-- lease_others_select.sql
-- Leases of the same pipeline on another stream, of partitions that have none on this one.
SELECT l.incarnation, l.partition, l.next_position
FROM millstream.lease l
WHERE l.pipeline = $1 AND l.incarnation <> $2 AND l.partition = ANY ($3::text[]) AND l.next_position IS NOT NULL
  AND NOT EXISTS (
      SELECT FROM millstream.lease own
      WHERE own.pipeline = $1 AND own.incarnation = $2 AND own.partition = l.partition
  )
ORDER BY l.renewed_at DESC, l.partition

-- objects_copy.sql
COPY millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current, versioned, store, bucket, key, version_id, etag, content_type, metadata, tags) FROM STDIN (FORMAT binary)

-- objects_insert.sql
-- For keys that another writer may insert at the same time: says which ones are new.
INSERT INTO millstream.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current,
    store, bucket, key, version_id, etag, content_type, metadata, tags)
SELECT i.order_time, i.order_seq, i.desc_time, i.desc_seq, i.desc_hash, i.size, i.kind, i.order_class,
       i.kind = 1 AND i.version_id = '', i.store, i.bucket, i.key, i.version_id, i.etag, i.content_type,
       i.metadata::jsonb, i.tags::jsonb
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::bigint[], $7::bigint[], $8::smallint[],
            $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], $16::text[])
    AS i (store, bucket, key, version_id, kind, order_time, order_seq, order_class, etag, size,
          desc_time, desc_seq, desc_hash, content_type, metadata, tags)
ORDER BY i.bucket COLLATE "C", i.key COLLATE "C", i.store COLLATE "C", i.version_id COLLATE "C"
ON CONFLICT (store, bucket, key, version_id) DO NOTHING
RETURNING store, bucket, key, version_id

-- objects_lock.sql
-- Rows under locks, taken in the order of the arrays, which is key order. What the locks see is what the counters are
-- told. The place of a locked row does not change until the transaction ends.
SELECT i.ordinal, o.order_time, o.order_seq, o.kind, o.etag, o.size, o.order_class,
       o.desc_time, o.desc_seq, o.desc_hash, o.versioned, o.current, o.ctid::text AS place, o.xmin::text AS writer
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS i (store, bucket, key, version_id, ordinal)
CROSS JOIN LATERAL (
    SELECT ctid, xmin, *
    FROM millstream.objects
    WHERE bucket = i.bucket AND key = i.key AND store = i.store AND version_id = i.version_id
    LIMIT 1
    FOR UPDATE
) AS o

-- objects_stored_select.sql
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

-- objects_update.sql
-- Folds newer facts and descriptions into rows that were looked at or locked before. A place and the transaction that
-- wrote it name one version of a row: one that was changed meanwhile is not updated, and so missed in the count.
UPDATE millstream.objects o
SET kind         = CASE WHEN i.facts_newer THEN i.kind ELSE o.kind END,
    order_time   = CASE WHEN i.facts_newer THEN i.order_time ELSE o.order_time END,
    order_seq    = CASE WHEN i.facts_newer THEN i.order_seq ELSE o.order_seq END,
    etag         = CASE WHEN i.facts_newer THEN i.etag ELSE o.etag END,
    order_class  = CASE WHEN i.facts_newer THEN i.order_class WHEN i.facts_equal THEN greatest(i.order_class, o.order_class) ELSE o.order_class END,
    size         = CASE WHEN i.facts_newer THEN i.size WHEN i.facts_equal THEN greatest(i.size, o.size) ELSE o.size END,
    current      = i.current,
    desc_time    = CASE WHEN i.desc_newer THEN i.desc_time ELSE o.desc_time END,
    desc_seq     = CASE WHEN i.desc_newer THEN i.desc_seq ELSE o.desc_seq END,
    desc_hash    = CASE WHEN i.desc_newer THEN i.desc_hash WHEN i.desc_merged THEN greatest(i.desc_hash, o.desc_hash) ELSE o.desc_hash END,
    content_type = CASE WHEN i.desc_newer THEN i.content_type WHEN i.desc_merged THEN greatest(i.content_type COLLATE "C", o.content_type) ELSE o.content_type END,
    metadata     = CASE WHEN i.desc_newer THEN i.metadata::jsonb WHEN i.desc_merged THEN greatest(i.metadata::jsonb, o.metadata) ELSE o.metadata END,
    tags         = CASE WHEN i.desc_newer THEN i.tags::jsonb WHEN i.desc_merged THEN greatest(i.tags::jsonb, o.tags) ELSE o.tags END
FROM unnest($1::text[], $2::boolean[], $3::boolean[], $4::boolean[], $5::boolean[], $6::boolean[], $7::smallint[], $8::bigint[], $9::bigint[],
            $10::smallint[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[], $17::text[], $18::text[], $19::text[])
    AS i (place, facts_newer, facts_equal, desc_newer, desc_merged, current, kind, order_time, order_seq,
          order_class, etag, size, desc_time, desc_seq, desc_hash, content_type, metadata, tags, writer)
WHERE o.ctid = i.place::tid AND o.xmin = i.writer::xid

-- quarantine_delete.sql
DELETE FROM millstream.quarantine WHERE id = ANY ($1::bigint[])

-- quarantine_insert.sql
INSERT INTO millstream.quarantine (pipeline, incarnation, partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at)
SELECT $1, $2, i.partition, i.position, i.index, i.reason, i.detail, i.sqlstate, i.store, i.record_key, i.headers::jsonb, i.payload,
       to_timestamp(i.published_at_ms / 1000.0)
FROM unnest($3::text[], $4::text[], $5::integer[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bytea[], $11::text[], $12::bytea[], $13::bigint[])
    AS i (partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at_ms)
ON CONFLICT (pipeline, incarnation, partition, position, index) DO NOTHING

-- quarantine_records_lock.sql
-- All rows of the records that these rows belong to: a record is written again as a whole.
SELECT q.id, q.pipeline, q.incarnation, q.partition, q.position, q.index, q.store, q.record_key, q.headers::text, q.payload,
       (extract(epoch FROM q.published_at) * 1000)::bigint AS published_at_ms
FROM millstream.quarantine q
WHERE (q.pipeline, q.incarnation, q.partition, q.position) IN (
    SELECT pipeline, incarnation, partition, position FROM millstream.quarantine WHERE id = ANY ($1::bigint[])
)
ORDER BY q.pipeline, q.incarnation, q.partition, q.position, q.index
FOR UPDATE

-- quarantine_refused_insert.sql
-- Events that are refused now and were not when their record was set aside. $1 names any row of the record.
INSERT INTO millstream.quarantine (pipeline, incarnation, partition, position, index, reason, detail, sqlstate, store, record_key, headers, payload, published_at)
SELECT q.pipeline, q.incarnation, q.partition, q.position, i.index, i.reason, i.detail, NULL, q.store, q.record_key, q.headers, q.payload, q.published_at
FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::text[]) AS i (id, index, reason, detail)
JOIN millstream.quarantine q ON q.id = i.id
ON CONFLICT (pipeline, incarnation, partition, position, index) DO NOTHING

-- quarantine_refused_update.sql
UPDATE millstream.quarantine q
SET reason = i.reason, detail = i.detail, sqlstate = NULL
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS i (id, reason, detail)
WHERE q.id = i.id

-- recount_begin.sql
BEGIN;
SET LOCAL synchronous_commit = on;
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = '10s';

-- recount_buckets.sql
-- Every bucket that has rows or counters. The key index is asked for the next bucket each time: reading every key of
-- the table to name a hundred buckets would cost as much as counting them.
WITH RECURSIVE there AS (
    (SELECT store, bucket FROM millstream.objects ORDER BY store, bucket LIMIT 1)
    UNION ALL
    SELECT next.store, next.bucket
    FROM there
    CROSS JOIN LATERAL (
        SELECT o.store, o.bucket
        FROM millstream.objects o
        WHERE (o.store, o.bucket) > (there.store, there.bucket)
        ORDER BY o.store, o.bucket
        LIMIT 1
    ) AS next
), named AS (
    SELECT store, bucket FROM there
    UNION SELECT store, bucket FROM millstream.bucket_count
    UNION SELECT store, bucket FROM millstream.segment_sum
    UNION SELECT store, bucket FROM millstream.hour_count
)
SELECT store, bucket
FROM named
WHERE ($1::text IS NULL OR store = $1) AND ($2::text IS NULL OR bucket = $2)
ORDER BY store, bucket

-- recount_lock.sql
-- Two repairs of one bucket at the same time would both add the same difference. The second one's look begins only when
-- the first has committed.
SELECT pg_advisory_xact_lock(hashtextextended($2, hashtext($1)))

-- recount_select.sql
-- Where the counters of one bucket differ from its rows. One statement sees one snapshot: a writer's transaction is in
-- the rows and in the counters of it, or in neither.
WITH facts AS (
    SELECT current, kind, size, left(key, position('/' IN key)) AS segment,
           -- The upper half of the order time holds seconds since 1970, with the sign bit flipped.
           ((order_time >> 32) + 2147483648) / 3600 AS hour
    FROM millstream.objects
    WHERE store = $1 AND bucket = $2
), sums AS (
    SELECT GROUPING(segment, hour) AS grouped, segment, hour,
           count(*) FILTER (WHERE current) AS objects,
           coalesce(sum(size) FILTER (WHERE current), 0) AS bytes,
           count(*) FILTER (WHERE current AND size IS NULL) AS unknown_size,
           count(*) FILTER (WHERE kind = 1) AS created,
           coalesce(sum(size) FILTER (WHERE kind = 1), 0) AS created_bytes,
           count(*) FILTER (WHERE kind IN (2, 3)) AS removed
    FROM facts
    GROUP BY GROUPING SETS ((), (segment), (hour))
), both_sides (segment, hour, counted_number, counted_bytes, counted_other, true_number, true_bytes, true_other) AS (
    SELECT segment, NULL::bigint, 0::numeric, 0::numeric, 0::numeric, objects::numeric, bytes::numeric, unknown_size::numeric
    FROM sums
    WHERE grouped = 3
       -- A segment beyond the limit was never registered and has no counter: it is not counted.
       OR grouped = 1 AND segment IN (
           SELECT s.segment FROM millstream.segment s WHERE s.store = $1 AND s.bucket = $2
           UNION ALL
           SELECT c.segment FROM millstream.segment_sum c WHERE c.store = $1 AND c.bucket = $2
       )
    UNION ALL
    SELECT NULL, hour, 0, 0, 0, created, created_bytes, removed FROM sums WHERE grouped = 2
    UNION ALL
    SELECT NULL, NULL, objects, bytes, unknown_size, 0, 0, 0
    FROM millstream.bucket_count WHERE store = $1 AND bucket = $2
    UNION ALL
    SELECT segment, NULL, objects, bytes, unknown_size, 0, 0, 0
    FROM millstream.segment_sum WHERE store = $1 AND bucket = $2
    UNION ALL
    SELECT NULL, floor(extract(epoch FROM hour) / 3600)::bigint, created, bytes, removed, 0, 0, 0
    FROM millstream.hour_count WHERE store = $1 AND bucket = $2
)
SELECT segment, hour, sum(counted_number)::text, sum(counted_bytes)::text, sum(counted_other)::text,
       sum(true_number)::text, sum(true_bytes)::text, sum(true_other)::text
FROM both_sides
GROUP BY segment, hour
HAVING sum(counted_number) <> sum(true_number)
    OR sum(counted_bytes) <> sum(true_bytes)
    OR sum(counted_other) <> sum(true_other)
ORDER BY hour NULLS FIRST, segment NULLS FIRST

-- segment_changes_fold.sql
-- Adds what one slot has gathered up, and to its counters. Each counter is written once, whatever was gathered of it.
WITH taken AS (
    DELETE FROM millstream.segment_change
    WHERE slot = $1
    RETURNING store, bucket, segment, objects, bytes, unknown_size
), summed AS (
    SELECT e.store, e.bucket, e.segment, sum(e.objects)::bigint AS objects, sum(e.bytes) AS bytes, sum(e.unknown_size)::bigint AS unknown_size
    FROM taken t
    CROSS JOIN LATERAL unnest(t.store, t.bucket, t.segment, t.objects, t.bytes, t.unknown_size)
        AS e (store, bucket, segment, objects, bytes, unknown_size)
    GROUP BY e.store, e.bucket, e.segment
    HAVING sum(e.objects) <> 0 OR sum(e.bytes) <> 0 OR sum(e.unknown_size) <> 0
)
INSERT INTO millstream.segment_count AS c (store, bucket, segment, slot, objects, bytes, unknown_size)
SELECT store, bucket, segment, $1, objects, bytes, unknown_size
FROM summed
ORDER BY store, bucket, segment
ON CONFLICT (store, bucket, segment, slot) DO UPDATE
SET objects = c.objects + excluded.objects, bytes = c.bytes + excluded.bytes, unknown_size = c.unknown_size + excluded.unknown_size

-- segment_changes_insert.sql
INSERT INTO millstream.segment_change (slot, store, bucket, segment, objects, bytes, unknown_size)
VALUES ($1, $2, $3, $4, $5, $6::text[]::numeric[], $7)

-- segment_counts_apply.sql
INSERT INTO millstream.segment_count AS c (store, bucket, segment, slot, objects, bytes, unknown_size)
SELECT i.store, i.bucket, i.segment, $1, i.objects, i.bytes::numeric, i.unknown_size
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[]) AS i (store, bucket, segment, objects, bytes, unknown_size)
ORDER BY i.store COLLATE "C", i.bucket COLLATE "C", i.segment COLLATE "C"
ON CONFLICT (store, bucket, segment, slot) DO UPDATE
SET objects = c.objects + excluded.objects, bytes = c.bytes + excluded.bytes, unknown_size = c.unknown_size + excluded.unknown_size

-- segment_limits_lock.sql
INSERT INTO millstream.segment_limit AS l (store, bucket, segments)
SELECT DISTINCT i.store COLLATE "C", i.bucket COLLATE "C", 0
FROM unnest($1::text[], $2::text[]) AS i (store, bucket)
ORDER BY 1, 2
ON CONFLICT (store, bucket) DO UPDATE SET segments = l.segments
RETURNING store, bucket, segments

-- segments_insert.sql
WITH added AS (
    INSERT INTO millstream.segment (store, bucket, segment)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[])
    ON CONFLICT DO NOTHING
    RETURNING store, bucket
), refused AS (
    SELECT store, bucket FROM unnest($4::text[], $5::text[]) AS r (store, bucket)
), changed AS (
    SELECT store, bucket, sum(added) AS added, bool_or(refused) AS refused
    FROM (SELECT store, bucket, 1 AS added, false AS refused FROM added UNION ALL SELECT store, bucket, 0, true FROM refused) AS u
    GROUP BY store, bucket
)
UPDATE millstream.segment_limit l
SET segments = l.segments + c.added, exceeded = l.exceeded OR c.refused
FROM changed c
WHERE l.store = c.store AND l.bucket = c.bucket

-- segments_select.sql
SELECT i.ordinal
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS i (store, bucket, segment, ordinal)
CROSS JOIN LATERAL (
    SELECT FROM millstream.segment WHERE store = i.store AND bucket = i.bucket AND segment = i.segment LIMIT 1
) AS s

-- slot_lease.sql
-- The smallest slot that is free or whose writer has been silent for an hour. No row comes back if another writer took
-- that slot meanwhile: ask again.
INSERT INTO millstream.slot AS s (slot, token, renewed_at)
SELECT free.slot, $1::uuid, clock_timestamp()
FROM generate_series(0, 1023) AS free (slot)
WHERE NOT EXISTS (
    SELECT FROM millstream.slot taken
    WHERE taken.slot = free.slot AND taken.renewed_at > clock_timestamp() - interval '1 hour'
)
ORDER BY free.slot
LIMIT 1
ON CONFLICT (slot) DO UPDATE SET token = excluded.token, renewed_at = excluded.renewed_at
WHERE s.renewed_at <= clock_timestamp() - interval '1 hour'
RETURNING slot

-- slot_renew.sql
UPDATE millstream.slot SET renewed_at = clock_timestamp() WHERE slot = $1 AND token = $2::uuid

-- transaction_begin.sql
BEGIN;
SET LOCAL synchronous_commit = on;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL plan_cache_mode = force_generic_plan;
SET LOCAL jit = off;
SET LOCAL idle_in_transaction_session_timeout = '10s';
-- Memory in which pending entries of the metadata index are merged: with the default of 4 MB their list of 4 MB takes
-- several rounds, each of which rewrites the same entries.
SET LOCAL work_mem = '32MB';

