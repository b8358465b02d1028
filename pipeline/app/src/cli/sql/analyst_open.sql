-- What analysts can still write, and the statement with which an owner of the database, or a superuser, ends it.
SELECT what, statement FROM (VALUES
    ('temporary tables',
     has_database_privilege('millstream_analyst', current_database(), 'TEMPORARY'),
     format('REVOKE TEMPORARY ON DATABASE %I FROM PUBLIC;', current_database())),
    ('large objects',
     has_function_privilege('millstream_analyst', 'pg_catalog.lo_create(oid)', 'EXECUTE'),
     'REVOKE EXECUTE ON FUNCTION pg_catalog.lo_create(oid), pg_catalog.lo_creat(integer), '
     || 'pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;')
) AS open (what, may, statement)
WHERE may
