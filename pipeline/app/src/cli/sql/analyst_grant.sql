-- The role of analysts: it reads the views, nothing else. Run again, it changes nothing.
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'millstream_analyst') THEN
        CREATE ROLE millstream_analyst LOGIN CONNECTION LIMIT 8;
    ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = 'millstream_analyst' AND NOT (rolcanlogin AND rolconnlimit = 8)) THEN
        ALTER ROLE millstream_analyst LOGIN CONNECTION LIMIT 8;
    END IF;
END $$;
GRANT USAGE ON SCHEMA analytics TO millstream_analyst;
GRANT SELECT ON ALL TABLES IN SCHEMA analytics TO millstream_analyst;
ALTER DEFAULT PRIVILEGES IN SCHEMA analytics GRANT SELECT ON TABLES TO millstream_analyst;
-- For the functions millstream.from_time and to_time; it opens no table.
GRANT USAGE ON SCHEMA millstream TO millstream_analyst;
-- Defaults of its sessions, which a session may change for itself. Each is said only where it is not so yet: roles belong
-- to all databases of a server, and two that change one at the same time fail.
-- A search of theirs shares the cache with all writers. One that hopes for more walks the key index to meet what has some
-- metadata, where finding all of it first is a hundred times as fast (decision 13).
DO $$
DECLARE setting text;
BEGIN
    FOREACH setting IN ARRAY ARRAY['default_transaction_read_only=on', 'statement_timeout=60s',
        'idle_in_transaction_session_timeout=60s', 'search_path=analytics', 'effective_cache_size=128MB'] LOOP
        IF NOT EXISTS (
            SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
            WHERE r.rolname = 'millstream_analyst' AND s.setdatabase = 0 AND setting = ANY (s.setconfig)) THEN
            EXECUTE format('ALTER ROLE millstream_analyst SET %s = %L',
                split_part(setting, '=', 1), split_part(setting, '=', 2));
        END IF;
    END LOOP;
END $$;
-- What everybody may do by default, and analysts with them: write temporary tables and large objects until the disk is
-- full. There is no way to take it from one role alone. Where we are not the owner, it stays.
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
               WHERE d.datname = current_database() AND a.grantee = 0 AND a.privilege_type = 'TEMPORARY') THEN
        EXECUTE format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC', current_database());
    END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;
DO $$ BEGIN
    IF has_function_privilege('millstream_analyst', 'pg_catalog.lo_create(oid)', 'EXECUTE')
        OR has_function_privilege('millstream_analyst', 'pg_catalog.lo_creat(integer)', 'EXECUTE')
        OR has_function_privilege('millstream_analyst', 'pg_catalog.lo_from_bytea(oid, bytea)', 'EXECUTE') THEN
        REVOKE EXECUTE ON FUNCTION pg_catalog.lo_create(oid), pg_catalog.lo_creat(integer),
            pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;
    END IF;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;
