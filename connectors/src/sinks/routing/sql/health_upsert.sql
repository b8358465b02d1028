-- Writes whole rows: the writer has the turn, so that nobody has changed them since they were read.
INSERT INTO millstream.health AS stored
SELECT * FROM jsonb_populate_recordset(NULL::millstream.health, $1::jsonb)
ON CONFLICT (source, task, port) DO UPDATE
SET (assignment, counter, healthy, since_ms, reason, seq, at)
    = (excluded.assignment, excluded.counter, excluded.healthy, excluded.since_ms, excluded.reason,
       excluded.seq, excluded.at)
