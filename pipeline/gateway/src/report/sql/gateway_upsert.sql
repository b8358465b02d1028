INSERT INTO millstream.gateway AS there (gateway, seq, state, in_flight, address, seen_at)
VALUES ($1, $2, $3, $4::jsonb, $5, clock_timestamp())
ON CONFLICT (gateway) DO UPDATE
SET (seq, state, in_flight, address, seen_at)
    = (excluded.seq, excluded.state, excluded.in_flight, excluded.address, excluded.seen_at)
