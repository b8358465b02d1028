-- What requests have made of deploys, so that the same request again gets the first answer. Removed with the route log.
CREATE TABLE millstream.deploy_change (
    service         text     NOT NULL COLLATE "C",
    revision        text     NOT NULL COLLATE "C",
    change_id       text     NOT NULL,
    after           jsonb    NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (service, revision, change_id)
);
CREATE INDEX deploy_change_at ON millstream.deploy_change (at);
