-- Writes whole rows: the writer has the turn, so that nobody has changed them since they were read.
INSERT INTO millstream.task AS stored
SELECT * FROM jsonb_populate_recordset(NULL::millstream.task, $1::jsonb)
ON CONFLICT (source, id) DO UPDATE
SET (epoch, rank, version, cluster, definition, "group", namespace, name, labels, status, desired_status,
     ready, reason, exit_code, stopped_ms, created_ms, started_ms, address_epoch, address_rank,
     address_version, network, addresses, ports, instance, seq, at)
    = (excluded.epoch, excluded.rank, excluded.version, excluded.cluster, excluded.definition,
       excluded."group", excluded.namespace, excluded.name, excluded.labels, excluded.status,
       excluded.desired_status, excluded.ready, excluded.reason, excluded.exit_code, excluded.stopped_ms,
       excluded.created_ms, excluded.started_ms, excluded.address_epoch, excluded.address_rank,
       excluded.address_version, excluded.network, excluded.addresses, excluded.ports, excluded.instance,
       excluded.seq, excluded.at)
