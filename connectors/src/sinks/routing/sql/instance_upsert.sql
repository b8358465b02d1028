-- Writes whole rows: the writer has the turn, so that nobody has changed them since they were read.
INSERT INTO millstream.instance AS stored
SELECT * FROM jsonb_populate_recordset(NULL::millstream.instance, $1::jsonb)
ON CONFLICT (source, id) DO UPDATE
SET (epoch, rank, version, cluster, status, agent_connected, machine, address_epoch, address_rank, address_version, network, addresses, seq, at)
    = (excluded.epoch, excluded.rank, excluded.version, excluded.cluster, excluded.status,
       excluded.agent_connected, excluded.machine, excluded.address_epoch,
       excluded.address_rank, excluded.address_version, excluded.network, excluded.addresses, excluded.seq,
       excluded.at)
