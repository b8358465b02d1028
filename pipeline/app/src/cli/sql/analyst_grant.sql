-- The role of analysts: it reads the views, nothing else. Run again, it changes nothing.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'millstream_analyst') THEN
        CREATE ROLE millstream_analyst NOLOGIN;
    END IF;
END $$;
GRANT USAGE ON SCHEMA analytics TO millstream_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO millstream_analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA analytics GRANT SELECT ON TABLES TO millstream_analyst;
-- For the functions millstream.from_time and to_time; it opens no table.
GRANT USAGE ON SCHEMA millstream TO millstream_analyst;
ALTER ROLE millstream_analyst SET default_transaction_read_only = on;
ALTER ROLE millstream_analyst SET statement_timeout = '60s';
