BEGIN;
-- Whoever stands still in the middle of a look holds up the others for no longer than this.
SET LOCAL lock_timeout = '2s';
SET LOCAL idle_in_transaction_session_timeout = '5s';
