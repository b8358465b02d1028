-- Writes whole rows: the writer has the turn, so that nobody has changed them since they were read.
INSERT INTO millstream.slice AS stored
SELECT * FROM jsonb_populate_recordset(NULL::millstream.slice, $1::jsonb)
ON CONFLICT (source, id) DO UPDATE
SET (epoch, rank, version, cluster, namespace, service, ports, ready, unready, seq, at)
    = (excluded.epoch, excluded.rank, excluded.version, excluded.cluster, excluded.namespace, excluded.service,
       excluded.ports, excluded.ready, excluded.unready, excluded.seq, excluded.at)
