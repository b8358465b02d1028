-- Which of the wanted privileges a role does not have: $1 the role, or null for our own; $2 kinds, $3 names, $4 privileges.
SELECT w.at
FROM unnest($2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS w (kind, name, privilege, at)
WHERE NOT coalesce(CASE w.kind
    WHEN 'SCHEMA' THEN has_schema_privilege(coalesce($1::name, current_user), to_regnamespace(w.name), w.privilege)
    WHEN 'TABLE' THEN (
        SELECT has_table_privilege(coalesce($1::name, current_user), c.oid, w.privilege)
        FROM pg_class c
        WHERE c.relname = w.name AND c.relnamespace = to_regnamespace('millstream'))
    ELSE (
        SELECT has_function_privilege(coalesce($1::name, current_user), p.oid, w.privilege)
        FROM pg_proc p
        WHERE p.proname = split_part(w.name, '(', 1) AND p.pronamespace = to_regnamespace('millstream'))
END, false)
ORDER BY w.at
