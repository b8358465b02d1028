-- Positions and leases: the fence. See schemas/README.md.
CREATE TABLE millstream.lease (
    pipeline      text        NOT NULL COLLATE "C",
    -- Which stream this is: the same topic made anew is another one.
    incarnation   text        NOT NULL COLLATE "C",
    partition     text        NOT NULL COLLATE "C",
    owner         text        NOT NULL,
    epoch         bigint      NOT NULL,
    -- New at every acquisition: who has an old one is fenced.
    token         uuid        NOT NULL,
    next_position text,
    renewed_at    timestamptz NOT NULL,
    PRIMARY KEY (pipeline, incarnation, partition)
) WITH (fillfactor = 50);

-- Ranges of positions that can never be read. Kept for people.
CREATE TABLE millstream.gap (
    pipeline      text        NOT NULL COLLATE "C",
    incarnation   text        NOT NULL COLLATE "C",
    partition     text        NOT NULL COLLATE "C",
    from_position text        NOT NULL COLLATE "C",
    to_position   text        NOT NULL COLLATE "C",
    reason        text        NOT NULL,
    found_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, incarnation, partition, from_position, to_position)
);

-- Events that could not be written, with the bytes they came in.
CREATE TABLE millstream.quarantine (
    id             bigint      GENERATED ALWAYS AS IDENTITY UNIQUE,
    pipeline       text        NOT NULL COLLATE "C",
    incarnation    text        NOT NULL COLLATE "C",
    partition      text        NOT NULL COLLATE "C",
    position       text        NOT NULL COLLATE "C",
    -- Which event of the record; -1 when the database refused the record as a whole.
    index          integer     NOT NULL,
    reason         text        NOT NULL,
    detail         text        NOT NULL,
    sqlstate       text,
    store          text        NOT NULL COLLATE "C",
    record_key     bytea       NOT NULL,
    headers        jsonb       NOT NULL,
    payload        bytea       NOT NULL,
    published_at   timestamptz NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (pipeline, incarnation, partition, position, index)
);
