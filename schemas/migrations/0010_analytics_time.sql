-- One instant has one rounding, what has no time has none for any reader, and every question that the documents of the
-- views show is answered by an index. See schemas/README.md.

-- Shown times are rounded to the nearest microsecond within their second, so that hours and days are those of the
-- seconds. In whole numbers and without SET or STRICT: so the planner puts the expression in the place of the call, which
-- is what makes an index on it usable and cheap to keep. A float of 53 bits holds any microsecond until 2106.
CREATE OR REPLACE FUNCTION millstream.to_time(order_time bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
SELECT CASE WHEN order_time >= -9223372032559808512 THEN
    to_timestamp((((order_time >> 32) + 2147483648) * 1000000
        + least(((order_time & 4294967295) * 1000000 + 2147483648) >> 32, 999999))::double precision / 1000000)
END
$$;
COMMENT ON FUNCTION millstream.to_time IS 'The time of an order value, which is 32.32 fixed-point seconds since 1970 with the sign bit flipped, rounded to a microsecond; null for an event that had no time';

CREATE FUNCTION millstream.to_date(order_time bigint) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
SELECT CASE WHEN order_time >= -9223372032559808512 THEN
    date '1970-01-01' + (((order_time >> 32) + 2147483648) / 86400)::integer
END
$$;
COMMENT ON FUNCTION millstream.to_date IS 'The day in UTC of millstream.to_time';

-- The smallest order value whose time is not before the one asked for: half a microsecond earlier within a second.
CREATE OR REPLACE FUNCTION millstream.from_time(at timestamptz) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
SELECT CASE
    WHEN extract(epoch FROM at) < 1 THEN -9223372032559808512
    WHEN extract(epoch FROM at) >= 4294967296 THEN 9223372036854775807
    ELSE (ceil((extract(epoch FROM at)
        - CASE WHEN extract(epoch FROM at) % 1 = 0 THEN 0 ELSE 0.0000005 END) * 4294967296) - 9223372036854775808)::bigint
END
$$;
COMMENT ON FUNCTION millstream.from_time IS 'The smallest order value of a time: objects.order_time >= millstream.from_time(t) is millstream.to_time(objects.order_time) >= t. Times outside of 1970 to 2106 are taken as the nearest one inside';

-- What follows changes what writers must keep, so that they are kept out until it is done.
LOCK TABLE millstream.objects IN SHARE ROW EXCLUSIVE MODE;

-- Metadata that is older than the facts is known, but not of this object: it is kept aside, so that the index has only what
-- is shown and a search of the view can use it. An expression index would do as well, but for its columns of order: no
-- overwrite could stay on its page (a HOT update, PostgreSQL 16 and later), where 2.5 times the CPU was measured.
UPDATE millstream.objects
SET older_metadata = metadata, metadata = NULL
WHERE metadata IS NOT NULL AND (desc_time, desc_seq) < (order_time, order_seq);

-- Objects without a time counted in the first hour of 1970.
DO $$ BEGIN
    IF EXISTS (SELECT FROM millstream.hour_count WHERE hour = '1970-01-01 00:00Z') THEN
        DELETE FROM millstream.hour_count WHERE hour = '1970-01-01 00:00Z';
        INSERT INTO millstream.hour_count (store, bucket, hour, slot, created, removed, bytes)
        SELECT store, bucket, '1970-01-01 00:00Z', 0, count(*) FILTER (WHERE kind = 1),
               count(*) FILTER (WHERE kind IN (2, 3)), coalesce(sum(size) FILTER (WHERE kind = 1), 0)
        FROM millstream.objects
        WHERE order_time >= -9223372032559808512 AND order_time < -9223356574972510208
        GROUP BY store, bucket;
    END IF;
END $$;

-- One index for every form of the time: as it is stored, as it is shown, and as a day.
CREATE INDEX objects_time ON millstream.objects
    USING brin (order_time, millstream.to_time(order_time), millstream.to_date(order_time))
    WITH (pages_per_range = 32, autosummarize = on);

CREATE OR REPLACE VIEW analytics.objects AS
SELECT o.store, o.bucket, o.key, NULLIF(o.version_id, '') AS version_id, o.size, NULLIF(o.etag, '') AS etag,
       CASE WHEN (o.desc_time, o.desc_seq) >= (o.order_time, o.order_seq) THEN o.content_type END AS content_type,
       o.metadata,
       CASE WHEN (o.desc_time, o.desc_seq) >= (o.order_time, o.order_seq) THEN o.tags END AS tags,
       millstream.to_time(o.order_time) AS modified_at,
       CASE o.order_class WHEN 3 THEN 'strong' WHEN 2 THEN 'clock' WHEN 1 THEN 'weak' ELSE 'undated' END AS order_class,
       o.order_time,
       millstream.to_date(o.order_time) AS modified_on
FROM millstream.objects o
WHERE o.current;

COMMENT ON SCHEMA analytics IS 'Views for people and their tools. Columns are never renamed or removed; new ones come at the end.';

COMMENT ON VIEW analytics.objects IS 'One row per object that exists now: the current version of each key. Deleted objects and older versions are left out. Example: SELECT key, size FROM analytics.objects WHERE bucket = ''uploads'' AND metadata @> ''{"stage":"raw"}'' ORDER BY key LIMIT 10';
COMMENT ON COLUMN analytics.objects.store IS 'Name of the object store, as configured: aws, minio-a, ...';
COMMENT ON COLUMN analytics.objects.bucket IS 'Bucket name';
COMMENT ON COLUMN analytics.objects.key IS 'Object key, as the application wrote it. WHERE bucket = ''b'' AND key LIKE ''in/%'' uses an index';
COMMENT ON COLUMN analytics.objects.version_id IS 'Version id; null when the object has none';
COMMENT ON COLUMN analytics.objects.size IS 'Size in bytes; null when no event gave it';
COMMENT ON COLUMN analytics.objects.etag IS 'Entity tag without quotes; null when no event gave it';
COMMENT ON COLUMN analytics.objects.content_type IS 'MIME type; null when no event gave it for this upload';
COMMENT ON COLUMN analytics.objects.metadata IS 'User metadata as a JSON object, names in lower case, values as text; null when no event gave it for this upload. WHERE metadata @> ''{"name":"value"}'' uses an index';
COMMENT ON COLUMN analytics.objects.tags IS 'Object tags as a JSON object; null when no event gave them for this upload';
COMMENT ON COLUMN analytics.objects.modified_at IS 'When the object was written, by the clock of its store, to the microsecond; null when no event gave a time. Ranges of it use an index';
COMMENT ON COLUMN analytics.objects.order_class IS 'How far the order of the object''s events can be trusted: strong (the store''s own order), clock (the clock of one node), weak (the event''s time only), undated (no time)';
COMMENT ON COLUMN analytics.objects.order_time IS 'The time as it is stored, exact to 2^-32 s. For people there is modified_at';
COMMENT ON COLUMN analytics.objects.modified_on IS 'The day of modified_at in UTC, for tools that compare dates; null when no event gave a time. Ranges of it use an index';

COMMENT ON VIEW analytics.object_counts IS 'Exact numbers of current objects: one row for each bucket (segment is null) and one for each first path segment in it. Reading them costs nothing, however many objects there are. Example: SELECT bucket, objects, bytes FROM analytics.object_counts WHERE segment IS NULL ORDER BY objects DESC LIMIT 10';
COMMENT ON COLUMN analytics.object_counts.store IS 'Name of the object store';
COMMENT ON COLUMN analytics.object_counts.bucket IS 'Bucket name';
COMMENT ON COLUMN analytics.object_counts.segment IS 'First path segment with its slash, such as in/; empty for keys without a slash; null for the whole bucket';
COMMENT ON COLUMN analytics.object_counts.objects IS 'Number of current objects';
COMMENT ON COLUMN analytics.object_counts.bytes IS 'Sum of the sizes that are known';
COMMENT ON COLUMN analytics.object_counts.unknown_size IS 'Number of current objects whose size is not known';

COMMENT ON VIEW analytics.uploads_hourly IS 'Uploads and removals by hour, as the objects stand now: each version counts once, in the hour of its newest event, so an object that is overwritten moves to a later hour. Versions without a time are left out. Example: SELECT hour, sum(created) FROM analytics.uploads_hourly GROUP BY hour ORDER BY hour DESC LIMIT 24';
COMMENT ON COLUMN analytics.uploads_hourly.store IS 'Name of the object store';
COMMENT ON COLUMN analytics.uploads_hourly.bucket IS 'Bucket name';
COMMENT ON COLUMN analytics.uploads_hourly.hour IS 'Beginning of the hour, of the time in modified_at';
COMMENT ON COLUMN analytics.uploads_hourly.created IS 'Versions whose newest event is an upload in this hour';
COMMENT ON COLUMN analytics.uploads_hourly.removed IS 'Versions whose newest event is a removal or a delete marker in this hour';
COMMENT ON COLUMN analytics.uploads_hourly.bytes IS 'Sum of the sizes of the created ones, as far as they are known';

COMMENT ON VIEW analytics.quarantine IS 'Events that were not written because something in them is wrong; an operator decides what becomes of them. Example: SELECT reason, count(*) FROM analytics.quarantine GROUP BY reason ORDER BY 2 DESC';
COMMENT ON COLUMN analytics.quarantine.id IS 'Number for the command millstream quarantine show';
COMMENT ON COLUMN analytics.quarantine.pipeline IS 'Pipeline that quarantined the event';
COMMENT ON COLUMN analytics.quarantine.store IS 'Name of the object store that the event came from';
COMMENT ON COLUMN analytics.quarantine.partition IS 'Partition of the stream';
COMMENT ON COLUMN analytics.quarantine.position IS 'Position of the record in its partition';
COMMENT ON COLUMN analytics.quarantine.index IS 'Number of the event in its record, from 0; -1 when the whole record was quarantined';
COMMENT ON COLUMN analytics.quarantine.reason IS 'Reason, one word';
COMMENT ON COLUMN analytics.quarantine.detail IS 'Reason, one sentence';
COMMENT ON COLUMN analytics.quarantine.sqlstate IS 'Error code of PostgreSQL; null when the event was refused before PostgreSQL saw it';
COMMENT ON COLUMN analytics.quarantine.published_at IS 'When the stream accepted the record';
COMMENT ON COLUMN analytics.quarantine.quarantined_at IS 'When the event was quarantined';
COMMENT ON COLUMN analytics.quarantine.payload_bytes IS 'Size of the record in bytes; it is kept whole';

COMMENT ON VIEW analytics.freshness IS 'When each pipeline last wrote to these tables. Events that still wait in the stream are not counted here: millstream status shows them. Example: SELECT pipeline, seconds_since_commit FROM analytics.freshness';
COMMENT ON COLUMN analytics.freshness.pipeline IS 'Name of the pipeline';
COMMENT ON COLUMN analytics.freshness.partitions IS 'Number of partitions that it reads';
COMMENT ON COLUMN analytics.freshness.last_commit_at IS 'Time of its last transaction, by the clock of the database';
COMMENT ON COLUMN analytics.freshness.seconds_since_commit IS 'Seconds since then; it grows while no events arrive';
