-- Objects: one row per (store, bucket, key, version id), folded by itself. See schemas/README.md.
CREATE SCHEMA IF NOT EXISTS millstream;

CREATE TABLE millstream.objects (
    -- Fixed-width columns first, so that no byte is lost to alignment.
    -- Order of the facts: 32.32 fixed-point seconds since 1970 with the sign bit flipped, then the emitter's number.
    order_time   bigint   NOT NULL,
    order_seq    bigint   NOT NULL,
    -- Order of the description (content type, metadata, tags); the smallest value where none is known.
    desc_time    bigint   NOT NULL,
    desc_seq     bigint   NOT NULL,
    -- Tells two descriptions of equal order apart; the larger one of those merged.
    desc_hash    bigint   NOT NULL,
    size         bigint,
    -- 0 no facts yet, 1 live, 2 delete marker, 3 deleted (a tombstone, kept).
    kind         smallint NOT NULL,
    -- How far the order can be trusted: 3 strong, 2 clock, 1 weak, 0 undated. Never compared.
    order_class  smallint NOT NULL,
    -- Whether this is the object that a reader without a version id gets.
    current      boolean  NOT NULL,
    -- Only on the row of version '': the key has other versions, so `current` is derived over all of them.
    versioned    boolean  NOT NULL DEFAULT false,
    store        text     NOT NULL COLLATE "C",
    bucket       text     NOT NULL COLLATE "C",
    key          text     NOT NULL COLLATE "C",
    version_id   text     NOT NULL COLLATE "C",
    etag         text     NOT NULL COLLATE "C",
    content_type text     COLLATE "C",
    metadata     jsonb,
    tags         jsonb,
    CONSTRAINT objects_pkey PRIMARY KEY (store, bucket, key, version_id),
    CONSTRAINT objects_kind CHECK (kind BETWEEN 0 AND 3),
    CONSTRAINT objects_size CHECK (size >= 0)
) WITH (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 10000,
    autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 10000
);

-- Containment only: smaller and faster than jsonb_ops. The pending list is short enough that a search stays quick and
-- long enough that entries are merged into the tree in bulk.
CREATE INDEX objects_metadata ON millstream.objects USING gin (metadata jsonb_path_ops) WITH (fastupdate = on, gin_pending_list_limit = 4096);
-- Nearly free to keep, and arrival is close to the order of time.
CREATE INDEX objects_time ON millstream.objects USING brin (order_time) WITH (pages_per_range = 32, autosummarize = on);

-- Exact counts of current objects. A slot is leased to one writer, so that two never wait for each other; readers sum.
CREATE TABLE millstream.bucket_count (
    store        text     NOT NULL COLLATE "C",
    bucket       text     NOT NULL COLLATE "C",
    slot         smallint NOT NULL,
    objects      bigint   NOT NULL,
    bytes        numeric  NOT NULL,
    unknown_size bigint   NOT NULL,
    PRIMARY KEY (store, bucket, slot)
) WITH (fillfactor = 50);

-- The first path segments that are counted: at most a fixed number in a bucket, never taken back.
CREATE TABLE millstream.segment (
    store    text    NOT NULL COLLATE "C",
    bucket   text    NOT NULL COLLATE "C",
    segment  text    NOT NULL COLLATE "C",
    PRIMARY KEY (store, bucket, segment)
);
CREATE TABLE millstream.segment_limit (
    store    text    NOT NULL COLLATE "C",
    bucket   text    NOT NULL COLLATE "C",
    segments integer NOT NULL,
    -- Whether a segment beyond the limit was ever seen.
    exceeded boolean NOT NULL DEFAULT false,
    PRIMARY KEY (store, bucket)
);
CREATE TABLE millstream.segment_count (
    store        text     NOT NULL COLLATE "C",
    bucket       text     NOT NULL COLLATE "C",
    segment      text     NOT NULL COLLATE "C",
    slot         smallint NOT NULL,
    objects      bigint   NOT NULL,
    bytes        numeric  NOT NULL,
    unknown_size bigint   NOT NULL,
    PRIMARY KEY (store, bucket, segment, slot)
) WITH (fillfactor = 50);

-- Rows by the hour of the object's time: what the rows say now, so any order of arrival gives the same numbers.
CREATE TABLE millstream.hour_count (
    store        text        NOT NULL COLLATE "C",
    bucket       text        NOT NULL COLLATE "C",
    hour         timestamptz NOT NULL,
    slot         smallint    NOT NULL,
    created      bigint      NOT NULL,
    removed      bigint      NOT NULL,
    bytes        numeric     NOT NULL,
    PRIMARY KEY (store, bucket, hour, slot)
) WITH (fillfactor = 50);

-- Slots of the counters, leased to writers.
CREATE TABLE millstream.slot (
    slot       smallint    PRIMARY KEY,
    token      uuid        NOT NULL,
    renewed_at timestamptz NOT NULL
) WITH (fillfactor = 50);
