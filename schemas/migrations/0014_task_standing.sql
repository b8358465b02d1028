-- What follows from the facts, for analysts: to which revision a task belongs, where it is reached, whose its address is,
-- and what it waits for. schemas/src/tasks/resolve.rs decides this for everything that serves; a test compares both over
-- random histories. Each view has at most one row of a task, or of an address, and says so by DISTINCT ON: a question that
-- needs none of this (count(*)) does not pay for it.

-- To which revision a task belongs. A selector is filed under one member, and a task looks there only.
CREATE VIEW millstream.task_revision AS
WITH selector AS MATERIALIZED (
    SELECT service, revision, generation, s.source, s.cluster, s.definition, s."group", s.namespace, labels,
           CASE WHEN s.definition IS NOT NULL THEN 'definition' WHEN s."group" IS NOT NULL THEN 'group'
                WHEN s.namespace IS NOT NULL THEN 'namespace' ELSE '' END AS member,
           coalesce(s.definition, s."group", s.namespace, '') AS value,
           num_nonnulls(s.source, s.cluster, s.definition, s."group", s.namespace)
               + (SELECT count(*) FROM jsonb_object_keys(labels)) AS specificity
    FROM millstream.deploy,
         jsonb_to_record(selector) AS s (source text, cluster text, definition text, "group" text, namespace text),
         coalesce(selector -> 'labels', '{}') AS labels
    WHERE NOT retired AND selector IS NOT NULL
), matching AS (
    SELECT t.source, t.id, s.service, s.revision, s.generation, s.specificity
    FROM millstream.task AS t
    CROSS JOIN LATERAL (
        VALUES ('definition', t.definition), ('group', t."group"), ('namespace', t.namespace), ('', '')
    ) AS carried (member, value)
    JOIN selector AS s USING (member, value)
    WHERE (s.source IS NULL OR s.source = t.source) AND (s.cluster IS NULL OR s.cluster = t.cluster)
      AND (s."group" IS NULL OR s."group" = t."group") AND (s.namespace IS NULL OR s.namespace = t.namespace)
      AND CASE WHEN s.labels = '{}' THEN true ELSE t.labels @> s.labels END
    UNION ALL
    -- A pod that no selector matches: the labels name service and revision, the first present one each.
    SELECT t.source, t.id, named.service, named.revision, 0, -1
    FROM millstream.task AS t
    CROSS JOIN LATERAL (
        SELECT t.namespace || '.' || coalesce(nullif(t.labels ->> 'app.kubernetes.io/name', ''), nullif(t.labels ->> 'app', '')) AS service,
               coalesce(nullif(t.labels ->> 'app.kubernetes.io/version', ''), nullif(t.labels ->> 'version', ''),
                        nullif(t.labels ->> 'pod-template-hash', '')) AS revision
    ) AS named
    LEFT JOIN millstream.deploy AS d ON d.service = named.service AND d.revision = named.revision
    WHERE t.labels IS NOT NULL AND strpos(t.namespace, '.') = 0
      AND named.service ~ '^[A-Za-z0-9._-]{1,127}$' AND named.revision ~ '^[A-Za-z0-9._-]{1,127}$'
      AND (d.service IS NULL OR NOT d.retired AND d.selector IS NULL)
)
SELECT DISTINCT ON (source, id) source, id, service, revision
FROM matching
ORDER BY source, id, specificity DESC, generation DESC, revision COLLATE "C" DESC, service COLLATE "C" DESC;

-- Where a task is reached by the port of its revision, and what it claims there: that port of an address which it shares,
-- or the whole of its own (0). Without an address, what it waits for.
CREATE VIEW millstream.task_spot AS
SELECT DISTINCT ON (source, id) source, id, service, revision, is_checked, is_named, pending, port,
       CASE WHEN is_shared THEN port ELSE 0 END AS claimed, coalesce(network, '') AS network,
       CASE WHEN ip LIKE '::ffff:%.%' THEN substr(ip, 8) ELSE ip END AS ip
FROM (
    SELECT t.source, t.id, r.service, r.revision, d.health IS NOT NULL AS is_checked,
           -- Where a service is known by slices, a living one must name the pod.
           t.namespace IS NULL OR known.service IS NULL OR named.pod IS NOT NULL AS is_named,
           CASE WHEN r.service IS NULL THEN 'no_deploy'
                WHEN t.addresses = '{}' AND t.instance IS NULL THEN 'no_address'
                WHEN t.addresses = '{}' AND coalesce(i.addresses, '{}') = '{}' THEN 'no_host_address'
                WHEN coalesce(port.number, 0) = 0 THEN 'no_port' END AS pending,
           CASE WHEN t.addresses = '{}' THEN i.network ELSE t.network END AS network,
           CASE WHEN t.addresses = '{}' THEN i.addresses[1] ELSE t.addresses[1] END AS ip,
           port.number AS port, t.addresses = '{}' AS is_shared
    FROM millstream.task AS t
    LEFT JOIN millstream.task_revision AS r ON r.source = t.source AND r.id = t.id
    LEFT JOIN millstream.deploy AS d ON d.service = r.service AND d.revision = r.revision
    LEFT JOIN millstream.instance AS i ON i.source = t.source AND i.id = t.instance
    LEFT JOIN (
        SELECT DISTINCT source, namespace, namespace || '.' || service AS service FROM millstream.slice
        WHERE service IS NOT NULL
    ) AS known ON known.source = t.source AND known.namespace = t.namespace AND known.service = r.service
    LEFT JOIN (
        SELECT DISTINCT source, namespace, namespace || '.' || service AS service, pod
        FROM millstream.slice, unnest(ready || unready) AS pod WHERE rank <= 0
    ) AS named ON named.source = t.source AND named.namespace = t.namespace AND named.service = r.service AND named.pod = t.id
    -- The port of the deploy, else the first one of its container; of the instance where the task shares its address.
    CROSS JOIN LATERAL (
        SELECT CASE WHEN t.addresses = '{}' THEN jsonb_path_query_first(t.ports,
                   '$[*] ? (($container == null || @.container == $container) && ($port == null || @.container_port == $port) && @.host_port > 0).host_port',
                   jsonb_build_object('container', d.container, 'port', d.port))::integer
               WHEN d.port IS NOT NULL THEN d.port
               ELSE jsonb_path_query_first(t.ports, '$[*] ? ($container == null || @.container == $container).container_port',
                   jsonb_build_object('container', d.container))::integer END AS number
    ) AS port
) AS reached
ORDER BY source, id;

-- Whose an address (port 0) or a port of it is: of all claims on it, those of gone tasks too, the largest (time, source,
-- task) counts. A claim on the whole address meets every claim on it. Planners take ten elements of each list for granted
-- and would prepare for millions of rows: sign(..) = 1 is true of each, and has them expect about one.
CREATE VIEW millstream.task_owner AS
WITH told AS (
    SELECT t.source, t.id, coalesce(t.started_ms, t.created_ms) AS since_ms, t.network, ip, 0 AS port
    FROM millstream.task AS t, unnest(t.addresses) AS ip
    WHERE sign(length(ip)) = 1
    UNION ALL
    SELECT t.source, t.id, coalesce(t.started_ms, t.created_ms), i.network, ip, (told ->> 'host_port')::integer
    FROM millstream.task AS t
    JOIN millstream.instance AS i ON i.source = t.source AND i.id = t.instance,
         unnest(i.addresses) AS ip, jsonb_array_elements(t.ports) AS told
    WHERE t.addresses = '{}' AND sign(length(ip)) = 1 AND sign((told ->> 'host_port')::integer) = 1
), claim AS (
    SELECT source, id, since_ms, coalesce(network, '') AS network, port,
           CASE WHEN ip LIKE '::ffff:%.%' THEN substr(ip, 8) ELSE ip END AS ip
    FROM told
), shared AS (
    SELECT DISTINCT network, ip, port FROM claim WHERE port > 0
), meeting AS (
    SELECT network, ip, 0 AS port, since_ms, source, id FROM claim
    UNION ALL
    SELECT network, ip, port, since_ms, source, id FROM claim WHERE port > 0
    UNION ALL
    SELECT network, ip, shared.port, claim.since_ms, claim.source, claim.id
    FROM shared JOIN claim USING (network, ip) WHERE claim.port = 0
)
SELECT DISTINCT ON (network, ip, port) network, ip, port, source, id
FROM meeting
ORDER BY network, ip, port, since_ms DESC NULLS LAST, source DESC, id DESC;

CREATE OR REPLACE VIEW analytics.tasks AS
SELECT t.source, t.id, CASE t.rank WHEN 0 THEN 'live' WHEN 1 THEN 'draining' ELSE 'gone' END AS state, t.status,
       t.desired_status, t.cluster, t.definition, t."group", t.namespace, t.name, t.labels, t.ready, t.reason, t.exit_code,
       t.network, t.addresses, t.ports, t.instance, millstream.ms_to_time(t.created_ms) AS created_at,
       millstream.ms_to_time(t.started_ms) AS started_at, millstream.ms_to_time(t.stopped_ms) AS stopped_at,
       t.at AS changed_at, s.service, s.revision,
       CASE WHEN t.rank >= 2 THEN 'gone'
            WHEN t.rank = 1 THEN 'draining'
            WHEN t.status IS NULL OR upper(t.status) <> 'RUNNING' THEN 'not_running'
            WHEN NOT s.is_named THEN 'no_deploy'
            WHEN s.pending IS NOT NULL THEN s.pending
            WHEN (o.source, o.id) <> (t.source, t.id) THEN 'shadowed'
            -- By the check of its deploy, else by the condition of the pod.
            WHEN s.is_checked THEN CASE WHEN h.healthy THEN 'routable' WHEN NOT h.healthy THEN 'unhealthy' ELSE 'unknown_health' END
            WHEN t.ready OR t.ready IS NULL AND t.namespace IS NULL THEN 'routable'
            WHEN t.ready IS NULL THEN 'unknown_health'
            ELSE 'unhealthy' END AS standing,
       CASE WHEN s.pending IS NOT NULL OR t.rank = 1 AND (o.source, o.id) <> (t.source, t.id) THEN NULL
            WHEN strpos(s.ip, ':') > 0 THEN '[' || s.ip || ']:' || s.port
            ELSE s.ip || ':' || s.port END AS address,
       CASE WHEN (o.source, o.id) <> (t.source, t.id) THEN o.source END AS shadowed_by_source,
       CASE WHEN (o.source, o.id) <> (t.source, t.id) THEN o.id END AS shadowed_by
FROM millstream.task AS t
LEFT JOIN millstream.task_spot AS s ON s.source = t.source AND s.id = t.id
LEFT JOIN millstream.task_owner AS o ON s.pending IS NULL AND o.network = s.network AND o.ip = s.ip AND o.port = s.claimed
LEFT JOIN millstream.health AS h ON h.source = t.source AND h.task = t.id AND h.port = s.port;
COMMENT ON VIEW analytics.tasks IS 'Tasks of ECS and pods of Kubernetes as they were told, gone ones too, and what follows for requests. Example: SELECT service, revision, standing, count(*) FROM analytics.tasks WHERE state = ''live'' GROUP BY 1, 2, 3';
COMMENT ON COLUMN analytics.tasks.service IS 'Service to which it belongs, by the most specific selector of a deploy, else by the labels of the pod';
COMMENT ON COLUMN analytics.tasks.revision IS 'Revision of the service';
COMMENT ON COLUMN analytics.tasks.standing IS 'routable, draining, gone, or the first thing that it waits for: not_running, no_deploy, no_address, no_host_address, no_port, shadowed, unhealthy, unknown_health. The database does not know which addresses each gateway may dial, and does not say address_refused: millstream why task does';
COMMENT ON COLUMN analytics.tasks.address IS 'Address and port at which it is reached; null while that is not known';
COMMENT ON COLUMN analytics.tasks.shadowed_by_source IS 'Source of the later task that has its address';
COMMENT ON COLUMN analytics.tasks.shadowed_by IS 'The later task that has its address: it never gets it back';
