-- Ends the sessions of an account; says how many: $1 its name.
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1
