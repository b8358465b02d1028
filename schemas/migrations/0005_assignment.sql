-- Who should read which partition, where the stream itself has no group that decides. Who may write is another matter:
-- the lease row decides. See pipeline/decisions/0007-who-reads-and-who-may-write.md.
CREATE TABLE millstream.member (
    pipeline    text        NOT NULL COLLATE "C",
    incarnation text        NOT NULL COLLATE "C",
    -- A process, under a name that no other has at the same time.
    name        text        NOT NULL COLLATE "C",
    joined_at   timestamptz NOT NULL,
    -- When it last showed that it lives.
    seen_at     timestamptz NOT NULL,
    PRIMARY KEY (pipeline, incarnation, name)
) WITH (fillfactor = 50);

CREATE TABLE millstream.assignment (
    pipeline    text        NOT NULL COLLATE "C",
    incarnation text        NOT NULL COLLATE "C",
    partition   text        NOT NULL COLLATE "C",
    -- Nobody, once it was given back.
    owner       text        COLLATE "C",
    -- Grows with every decision: one that was made on an older number is void.
    number      bigint      NOT NULL,
    assigned_at timestamptz NOT NULL,
    PRIMARY KEY (pipeline, incarnation, partition)
);
