-- Writes whole rows: the writer has the turn, so that nobody has changed them since they were read.
INSERT INTO millstream.alias AS stored
SELECT * FROM jsonb_populate_recordset(NULL::millstream.alias, $1::jsonb)
ON CONFLICT (service, alias) DO UPDATE
SET (generation, deleted, targets, sticky, force, hold_max_ms, retry_responses, retry_keyed, timeout_ms,
     change_id, seq, at)
    = (excluded.generation, excluded.deleted, excluded.targets, excluded.sticky, excluded.force,
       excluded.hold_max_ms, excluded.retry_responses, excluded.retry_keyed, excluded.timeout_ms,
       excluded.change_id, excluded.seq, excluded.at)
