-- Writes whole rows: the writer has the turn, so that nobody has changed them since they were read.
INSERT INTO millstream.deploy AS stored
SELECT * FROM jsonb_populate_recordset(NULL::millstream.deploy, $1::jsonb)
ON CONFLICT (service, revision) DO UPDATE
SET (generation, retired, selector, container, port, health, min_ready, drain_ms, keep_alive_ms, replay_post,
     identity, concurrency_max, seq, at)
    = (excluded.generation, excluded.retired, excluded.selector, excluded.container, excluded.port,
       excluded.health, excluded.min_ready, excluded.drain_ms, excluded.keep_alive_ms, excluded.replay_post,
       excluded.identity, excluded.concurrency_max, excluded.seq, excluded.at)
