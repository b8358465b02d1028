-- Facts of tasks and routes, and the log by which gateways follow them. The columns of each fact table are those of the
-- struct in schemas/src/tasks/fact.rs, and seq and at: the place of its last change in route_log, and when that was.

CREATE TABLE millstream.task (
    source          text     NOT NULL COLLATE "C",
    id              text     NOT NULL COLLATE "C",
    -- The order of the state.
    epoch           bigint   NOT NULL,
    rank            smallint NOT NULL,
    version         bigint   NOT NULL,
    cluster         text,
    definition      text,
    "group"         text,
    namespace       text,
    name            text,
    labels          jsonb,
    status          text,
    desired_status  text,
    ready           boolean,
    reason          text,
    exit_code       integer,
    stopped_ms      bigint,
    created_ms      bigint,
    started_ms      bigint,
    -- The order of the address, which only some events carry.
    address_epoch   bigint,
    address_rank    smallint,
    address_version bigint,
    network         text,
    addresses       text[]   NOT NULL,
    ports           jsonb    NOT NULL,
    instance        text,
    seq             bigint   NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (source, id)
) WITH (fillfactor = 80);

CREATE TABLE millstream.instance (
    source          text     NOT NULL COLLATE "C",
    id              text     NOT NULL COLLATE "C",
    epoch           bigint   NOT NULL,
    rank            smallint NOT NULL,
    version         bigint   NOT NULL,
    cluster         text,
    status          text,
    agent_connected boolean,
    machine         text,
    -- The order of the addresses, which only some events carry.
    address_epoch   bigint,
    address_rank    smallint,
    address_version bigint,
    network         text,
    addresses       text[]   NOT NULL,
    seq             bigint   NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);

CREATE TABLE millstream.slice (
    source          text     NOT NULL COLLATE "C",
    id              text     NOT NULL COLLATE "C",
    epoch           bigint   NOT NULL,
    rank            smallint NOT NULL,
    version         bigint   NOT NULL,
    cluster         text,
    namespace       text,
    service         text,
    ports           jsonb    NOT NULL,
    ready           text[]   NOT NULL,
    unready         text[]   NOT NULL,
    seq             bigint   NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (source, id)
);

CREATE TABLE millstream.deploy (
    service         text     NOT NULL COLLATE "C",
    revision        text     NOT NULL COLLATE "C",
    generation      bigint   NOT NULL,
    retired         boolean  NOT NULL,
    selector        jsonb,
    container       text,
    port            integer,
    health          jsonb,
    min_ready       integer  NOT NULL,
    drain_ms        bigint   NOT NULL,
    keep_alive_ms   bigint,
    replay_post     boolean  NOT NULL,
    identity        text,
    concurrency_max integer,
    seq             bigint   NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (service, revision)
);

CREATE TABLE millstream.health (
    source          text     NOT NULL COLLATE "C",
    task            text     NOT NULL COLLATE "C",
    port            integer  NOT NULL,
    -- The order: the number of the assignment of a shard of tasks to its checker, and a counter within it.
    assignment      bigint   NOT NULL,
    counter         bigint   NOT NULL,
    healthy         boolean  NOT NULL,
    since_ms        bigint   NOT NULL,
    reason          text,
    seq             bigint   NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (source, task, port)
) WITH (fillfactor = 80);

CREATE TABLE millstream.alias (
    service         text     NOT NULL COLLATE "C",
    alias           text     NOT NULL COLLATE "C",
    generation      bigint   NOT NULL,
    -- The row of a deleted alias stays for its generation, which only grows.
    deleted         boolean  NOT NULL,
    targets         jsonb    NOT NULL,
    sticky          text,
    force           boolean  NOT NULL,
    hold_max_ms     bigint,
    retry_responses boolean  NOT NULL,
    retry_keyed     boolean  NOT NULL,
    timeout_ms      bigint,
    change_id       text,
    seq             bigint   NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (service, alias)
);

-- One row per generation, with the time during which it was the newest.
CREATE TABLE millstream.alias_history (
    service         text     NOT NULL COLLATE "C",
    alias           text     NOT NULL COLLATE "C",
    generation      bigint   NOT NULL,
    after           jsonb    NOT NULL,
    valid           tstzrange NOT NULL,
    PRIMARY KEY (service, alias, generation)
);

-- Locked by whoever changes a fact, up to its commit, so that commits are in the order of their numbers. Never updated.
CREATE TABLE millstream.route_turn (single boolean PRIMARY KEY DEFAULT true CHECK (single));
INSERT INTO millstream.route_turn DEFAULT VALUES;

-- Every change of a fact, with the whole row after it; null where the row was removed. Without gaps.
CREATE TABLE millstream.route_log (
    seq             bigint   PRIMARY KEY,
    kind            text     NOT NULL,
    key             text[]   NOT NULL,
    after           jsonb
);

-- The last change of each transaction, with a hash of all facts after it.
CREATE TABLE millstream.route_commit (
    seq             bigint   PRIMARY KEY,
    digest          bigint   NOT NULL,
    at              timestamptz NOT NULL
);
INSERT INTO millstream.route_commit VALUES (0, 0, clock_timestamp());

-- Which history this is, and up to where its log was removed.
CREATE TABLE millstream.route_identity (
    single          boolean  PRIMARY KEY DEFAULT true CHECK (single),
    identity        uuid     NOT NULL DEFAULT gen_random_uuid(),
    pruned_to       bigint   NOT NULL DEFAULT 0
);
INSERT INTO millstream.route_identity DEFAULT VALUES;

-- When a partition of the stream of tasks was last read to its end.
CREATE TABLE millstream.route_state (
    pipeline        text     NOT NULL COLLATE "C",
    incarnation     text     NOT NULL COLLATE "C",
    partition       text     NOT NULL COLLATE "C",
    read_to_end_at  timestamptz NOT NULL,
    PRIMARY KEY (pipeline, incarnation, partition)
) WITH (fillfactor = 50);

-- Unknown tasks that were created before are not written: what was purged must not come back.
CREATE TABLE millstream.task_floor (
    source          text     PRIMARY KEY COLLATE "C",
    created_ms      bigint   NOT NULL
);

-- Gateways, each with what it has applied.
CREATE TABLE millstream.gateway (
    gateway         text     PRIMARY KEY COLLATE "C",
    seq             bigint   NOT NULL,
    state           text     NOT NULL,
    in_flight       jsonb    NOT NULL,
    address         text,
    seen_at         timestamptz NOT NULL
) WITH (fillfactor = 50);

-- Which generation of an alias a gateway served, and from when on.
CREATE TABLE millstream.gateway_alias (
    gateway         text     NOT NULL COLLATE "C",
    service         text     NOT NULL COLLATE "C",
    alias           text     NOT NULL COLLATE "C",
    since           timestamptz NOT NULL,
    generation      bigint   NOT NULL,
    state           text     NOT NULL,
    reason          text,
    PRIMARY KEY (service, alias, gateway, since)
);
CREATE INDEX gateway_alias_since ON millstream.gateway_alias (since);

CREATE FUNCTION millstream.ms_to_time(ms bigint) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT
    AS $$ SELECT to_timestamp(ms / 1000.0) $$;
COMMENT ON FUNCTION millstream.ms_to_time IS 'A time of milliseconds since 1970.';

CREATE VIEW analytics.tasks AS
SELECT source, id, CASE rank WHEN 0 THEN 'live' WHEN 1 THEN 'draining' ELSE 'gone' END AS state, status, desired_status,
       cluster, definition, "group", namespace, name, labels, ready, reason, exit_code, network, addresses, ports, instance,
       millstream.ms_to_time(created_ms) AS created_at, millstream.ms_to_time(started_ms) AS started_at,
       millstream.ms_to_time(stopped_ms) AS stopped_at, at AS changed_at
FROM millstream.task;
COMMENT ON VIEW analytics.tasks IS 'Tasks of ECS and pods of Kubernetes as they were told, gone ones too. Example: SELECT state, count(*) FROM analytics.tasks GROUP BY state';
COMMENT ON COLUMN analytics.tasks.source IS 'Who emits its events: the name of a configured task_source';
COMMENT ON COLUMN analytics.tasks.id IS 'Last part of the ARN of the task, or the uid of the pod';
COMMENT ON COLUMN analytics.tasks.state IS 'live, draining or gone; nothing revives what is gone';
COMMENT ON COLUMN analytics.tasks.status IS 'lastStatus of ECS, or the phase of the pod';
COMMENT ON COLUMN analytics.tasks.desired_status IS 'desiredStatus of ECS';
COMMENT ON COLUMN analytics.tasks.cluster IS 'ARN of the cluster, or the uid of its namespace kube-system';
COMMENT ON COLUMN analytics.tasks.definition IS 'Task definition as family:revision';
COMMENT ON COLUMN analytics.tasks."group" IS 'Group of the task, such as service:digits';
COMMENT ON COLUMN analytics.tasks.namespace IS 'Namespace of the pod';
COMMENT ON COLUMN analytics.tasks.name IS 'Name of the pod';
COMMENT ON COLUMN analytics.tasks.labels IS 'Labels of the pod as a JSON object';
COMMENT ON COLUMN analytics.tasks.ready IS 'Ready condition of the pod; null for tasks of ECS';
COMMENT ON COLUMN analytics.tasks.reason IS 'Why it stopped';
COMMENT ON COLUMN analytics.tasks.exit_code IS 'First exit code that is not 0, else 0; null while it runs';
COMMENT ON COLUMN analytics.tasks.network IS 'Network of its addresses';
COMMENT ON COLUMN analytics.tasks.addresses IS 'Its own addresses; empty where it shares those of its instance';
COMMENT ON COLUMN analytics.tasks.ports IS 'Ports of its containers as a JSON array';
COMMENT ON COLUMN analytics.tasks.instance IS 'The host whose address it shares';
COMMENT ON COLUMN analytics.tasks.created_at IS 'When it was created';
COMMENT ON COLUMN analytics.tasks.started_at IS 'When it started to run';
COMMENT ON COLUMN analytics.tasks.stopped_at IS 'When it stopped';
COMMENT ON COLUMN analytics.tasks.changed_at IS 'When its row was last changed';

CREATE VIEW analytics.task_durations AS
SELECT source, id, definition, "group", created_at, started_at, stopped_at,
       CASE WHEN state <> 'gone' THEN 'running' WHEN exit_code = 0 THEN 'succeeded' WHEN exit_code IS NULL THEN 'unknown' ELSE 'failed' END AS outcome,
       exit_code, reason, started_at - created_at AS queued, stopped_at - started_at AS ran
FROM analytics.tasks;
COMMENT ON VIEW analytics.task_durations IS 'How long tasks waited and ran, and how they ended. Example: SELECT definition, avg(ran) FROM analytics.task_durations WHERE outcome = ''succeeded'' GROUP BY definition';
COMMENT ON COLUMN analytics.task_durations.source IS 'Who emits its events';
COMMENT ON COLUMN analytics.task_durations.id IS 'Task';
COMMENT ON COLUMN analytics.task_durations.definition IS 'Task definition as family:revision';
COMMENT ON COLUMN analytics.task_durations."group" IS 'Group of the task';
COMMENT ON COLUMN analytics.task_durations.created_at IS 'When it was created';
COMMENT ON COLUMN analytics.task_durations.started_at IS 'When it started to run';
COMMENT ON COLUMN analytics.task_durations.stopped_at IS 'When it stopped';
COMMENT ON COLUMN analytics.task_durations.outcome IS 'running, succeeded, failed, or unknown where no exit code was told';
COMMENT ON COLUMN analytics.task_durations.exit_code IS 'First exit code that is not 0, else 0';
COMMENT ON COLUMN analytics.task_durations.reason IS 'Why it stopped';
COMMENT ON COLUMN analytics.task_durations.queued IS 'From creation to start; null where one of them is unknown';
COMMENT ON COLUMN analytics.task_durations.ran IS 'From start to stop; null where one of them is unknown';

CREATE VIEW analytics.routes AS
SELECT service, alias, generation, targets, sticky, at AS changed_at
FROM millstream.alias WHERE NOT deleted;
COMMENT ON VIEW analytics.routes IS 'Which revisions each alias of a service means now. Example: SELECT alias, generation, targets FROM analytics.routes WHERE service = ''digits''';
COMMENT ON COLUMN analytics.routes.service IS 'Service';
COMMENT ON COLUMN analytics.routes.alias IS 'Alias, such as prod';
COMMENT ON COLUMN analytics.routes.generation IS 'Grows with each change';
COMMENT ON COLUMN analytics.routes.targets IS 'Revisions with their weights as a JSON array; empty means any live revision';
COMMENT ON COLUMN analytics.routes.sticky IS 'Request header by whose value requests stay with a revision';
COMMENT ON COLUMN analytics.routes.changed_at IS 'When this generation was made';

CREATE VIEW analytics.routes_history AS
SELECT service, alias, generation, after -> 'targets' AS targets, (after ->> 'deleted')::boolean AS deleted,
       lower(valid) AS valid_from, upper(valid) AS valid_to
FROM millstream.alias_history;
COMMENT ON VIEW analytics.routes_history IS 'Every generation of every alias. Example: SELECT generation, targets FROM analytics.routes_history WHERE service = ''digits'' AND alias = ''prod'' AND valid_from <= now() AND (valid_to IS NULL OR valid_to > now())';
COMMENT ON COLUMN analytics.routes_history.service IS 'Service';
COMMENT ON COLUMN analytics.routes_history.alias IS 'Alias';
COMMENT ON COLUMN analytics.routes_history.generation IS 'Grows with each change';
COMMENT ON COLUMN analytics.routes_history.targets IS 'Revisions with their weights as a JSON array; empty means any live revision';
COMMENT ON COLUMN analytics.routes_history.deleted IS 'Whether the alias was deleted by it';
COMMENT ON COLUMN analytics.routes_history.valid_from IS 'When it was made';
COMMENT ON COLUMN analytics.routes_history.valid_to IS 'When the next one was made; null for the newest';
