BEGIN;
SET LOCAL synchronous_commit = on;
SET LOCAL idle_in_transaction_session_timeout = '10s';
