-- What analysts see: commented, stable views, nothing else.
CREATE SCHEMA IF NOT EXISTS analytics;
COMMENT ON SCHEMA analytics IS 'Views for people and their tools. Stable: a changed view gets a new name.';

CREATE FUNCTION millstream.to_time(order_time bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT to_timestamp((order_time::numeric + 9223372036854775808) / 4294967296) $$;
COMMENT ON FUNCTION millstream.to_time IS 'The time of an order value: 32.32 fixed-point seconds since 1970 with the sign bit flipped.';

CREATE FUNCTION millstream.from_time(at timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT (least(greatest(extract(epoch FROM at)::numeric, 0), 4294967295) * 4294967296 - 9223372036854775808)::bigint $$;
COMMENT ON FUNCTION millstream.from_time IS 'The order value of a time, to compare with objects.order_time.';

CREATE VIEW analytics.objects AS
SELECT o.store, o.bucket, o.key, NULLIF(o.version_id, '') AS version_id, o.size, NULLIF(o.etag, '') AS etag,
       CASE WHEN (o.desc_time, o.desc_seq) >= (o.order_time, o.order_seq) THEN o.content_type END AS content_type,
       CASE WHEN (o.desc_time, o.desc_seq) >= (o.order_time, o.order_seq) THEN o.metadata END AS metadata,
       CASE WHEN (o.desc_time, o.desc_seq) >= (o.order_time, o.order_seq) THEN o.tags END AS tags,
       millstream.to_time(o.order_time) AS modified_at,
       CASE o.order_class WHEN 3 THEN 'strong' WHEN 2 THEN 'clock' WHEN 1 THEN 'weak' ELSE 'undated' END AS order_class,
       o.order_time
FROM millstream.objects o
WHERE o.current;
COMMENT ON VIEW analytics.objects IS 'Objects as a reader gets them now: one row per key, deleted ones left out. Example: SELECT key, size FROM analytics.objects WHERE bucket = ''uploads'' AND metadata @> ''{"stage":"raw"}'' LIMIT 10';
COMMENT ON COLUMN analytics.objects.store IS 'Which object store: aws, minio-a, ... as configured';
COMMENT ON COLUMN analytics.objects.bucket IS 'Bucket name';
COMMENT ON COLUMN analytics.objects.key IS 'Object key, decoded once';
COMMENT ON COLUMN analytics.objects.version_id IS 'Version id; null when the object is unversioned';
COMMENT ON COLUMN analytics.objects.size IS 'Bytes; null when no event told it';
COMMENT ON COLUMN analytics.objects.etag IS 'Entity tag without quotes; null when no event told it';
COMMENT ON COLUMN analytics.objects.content_type IS 'MIME type; null when unknown or older than the object';
COMMENT ON COLUMN analytics.objects.metadata IS 'User metadata as a JSON object, names in lower case; null when unknown or older than the object';
COMMENT ON COLUMN analytics.objects.tags IS 'Object tags as a JSON object; null when unknown or older than the object';
COMMENT ON COLUMN analytics.objects.modified_at IS 'The object''s own time, from the event''s order';
COMMENT ON COLUMN analytics.objects.order_class IS 'How far the order of events can be trusted: strong, clock, weak, undated';
COMMENT ON COLUMN analytics.objects.order_time IS 'The time as stored; compare it with millstream.from_time(..) to use the index';

CREATE VIEW analytics.object_counts AS
SELECT store, bucket, NULL::text AS segment, sum(objects)::bigint AS objects, sum(bytes) AS bytes, sum(unknown_size)::bigint AS unknown_size
FROM millstream.bucket_count GROUP BY store, bucket
UNION ALL
SELECT store, bucket, segment, sum(objects)::bigint, sum(bytes), sum(unknown_size)::bigint
FROM millstream.segment_count GROUP BY store, bucket, segment;
COMMENT ON VIEW analytics.object_counts IS 'Exact counts of current objects, kept by the writing transaction: per bucket (segment is null) and per first path segment. Example: SELECT bucket, objects, bytes FROM analytics.object_counts WHERE segment IS NULL ORDER BY objects DESC LIMIT 10';
COMMENT ON COLUMN analytics.object_counts.store IS 'Which object store';
COMMENT ON COLUMN analytics.object_counts.bucket IS 'Bucket name';
COMMENT ON COLUMN analytics.object_counts.segment IS 'First path segment of the keys, with its slash; empty for keys without a slash; null for the whole bucket';
COMMENT ON COLUMN analytics.object_counts.objects IS 'Current objects';
COMMENT ON COLUMN analytics.object_counts.bytes IS 'Sum of the known sizes';
COMMENT ON COLUMN analytics.object_counts.unknown_size IS 'How many of the objects have no known size';

CREATE VIEW analytics.uploads_hourly AS
SELECT store, bucket, hour, sum(created)::bigint AS created, sum(removed)::bigint AS removed, sum(bytes) AS bytes
FROM millstream.hour_count GROUP BY store, bucket, hour;
COMMENT ON VIEW analytics.uploads_hourly IS 'Object versions by the hour of their own time, as they stand now: an overwritten object counts in the hour of its newest upload. Example: SELECT hour, sum(created) FROM analytics.uploads_hourly GROUP BY hour ORDER BY hour DESC LIMIT 24';
COMMENT ON COLUMN analytics.uploads_hourly.store IS 'Which object store';
COMMENT ON COLUMN analytics.uploads_hourly.bucket IS 'Bucket name';
COMMENT ON COLUMN analytics.uploads_hourly.hour IS 'Hour of the object''s own time (UTC)';
COMMENT ON COLUMN analytics.uploads_hourly.created IS 'Versions whose newest event is an upload in this hour';
COMMENT ON COLUMN analytics.uploads_hourly.removed IS 'Versions whose newest event is a removal or a delete marker in this hour';
COMMENT ON COLUMN analytics.uploads_hourly.bytes IS 'Sum of the known sizes of the created ones';

CREATE VIEW analytics.quarantine AS
SELECT id, pipeline, store, partition, position, index, reason, detail, sqlstate, published_at, quarantined_at,
       octet_length(payload) AS payload_bytes
FROM millstream.quarantine;
COMMENT ON VIEW analytics.quarantine IS 'Events that could not be written and wait for a person. Example: SELECT reason, count(*) FROM analytics.quarantine GROUP BY reason ORDER BY 2 DESC';
COMMENT ON COLUMN analytics.quarantine.id IS 'Number for millstream quarantine show';
COMMENT ON COLUMN analytics.quarantine.pipeline IS 'Pipeline that set it aside';
COMMENT ON COLUMN analytics.quarantine.store IS 'Which object store it spoke of';
COMMENT ON COLUMN analytics.quarantine.partition IS 'Partition of the stream';
COMMENT ON COLUMN analytics.quarantine.position IS 'Position of the record in its partition';
COMMENT ON COLUMN analytics.quarantine.index IS 'Which event of the record; -1 when the database refused the record as a whole';
COMMENT ON COLUMN analytics.quarantine.reason IS 'Why, in one word';
COMMENT ON COLUMN analytics.quarantine.detail IS 'Why, in a sentence';
COMMENT ON COLUMN analytics.quarantine.sqlstate IS 'What PostgreSQL answered, if it was asked';
COMMENT ON COLUMN analytics.quarantine.published_at IS 'When the stream accepted the record';
COMMENT ON COLUMN analytics.quarantine.quarantined_at IS 'When it was set aside';
COMMENT ON COLUMN analytics.quarantine.payload_bytes IS 'Size of the record, which is kept whole';

CREATE VIEW analytics.freshness AS
SELECT pipeline, count(*) AS partitions, max(renewed_at) AS last_commit_at,
       extract(epoch FROM clock_timestamp() - max(renewed_at)) AS seconds_since_commit
FROM millstream.lease GROUP BY pipeline;
COMMENT ON VIEW analytics.freshness IS 'When each pipeline last committed. What still waits in the stream is not known here: see millstream status. Example: SELECT pipeline, seconds_since_commit FROM analytics.freshness';
COMMENT ON COLUMN analytics.freshness.pipeline IS 'Pipeline';
COMMENT ON COLUMN analytics.freshness.partitions IS 'Partitions it reads';
COMMENT ON COLUMN analytics.freshness.last_commit_at IS 'Last commit, by the database clock';
COMMENT ON COLUMN analytics.freshness.seconds_since_commit IS 'Seconds since then; grows while nothing arrives';
