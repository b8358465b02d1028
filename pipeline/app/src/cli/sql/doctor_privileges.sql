-- Tables of ours that this role cannot write.
SELECT c.relname::text
FROM pg_class c
WHERE c.relnamespace = to_regnamespace('millstream') AND c.relkind IN ('r', 'p') AND c.relname <> 'migration'
  AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT')
           AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE'))
ORDER BY 1
