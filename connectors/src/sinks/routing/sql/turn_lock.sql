-- Held up to COMMIT: commits are in the order of their numbers. Who waits for it longer than this tries again.
SET LOCAL lock_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '2s';
SELECT FROM millstream.route_turn FOR UPDATE
