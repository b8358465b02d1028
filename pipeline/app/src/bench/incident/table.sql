-- The tables of 2019: one row per object with its metadata as JSON, found through a GIN index, and a counter per bucket.
CREATE SCHEMA incident;
CREATE TABLE incident.objects (
    bucket text NOT NULL,
    key text NOT NULL,
    size bigint,
    etag text,
    removed boolean NOT NULL,
    sequencer text NOT NULL,
    event_time timestamptz NOT NULL,
    metadata jsonb NOT NULL,
    PRIMARY KEY (bucket, key)
);
CREATE INDEX ON incident.objects USING gin (metadata);
CREATE TABLE incident.counters (bucket text PRIMARY KEY, events bigint NOT NULL);
INSERT INTO incident.counters SELECT 'bucket-' || lpad(number::text, 2, '0'), 0 FROM generate_series(0, 99) number;
