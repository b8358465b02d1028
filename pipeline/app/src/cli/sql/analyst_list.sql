-- The accounts of analysts, with what was set for their sessions. Whoever made the role is a member with the right to
-- admit others, and no analyst.
SELECT r.rolname::text AS name,
       r.rolcanlogin AS may_log_in,
       r.rolconnlimit AS connections_max,
       (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid) AS sessions,
       coalesce((SELECT s.setconfig FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0),
                '{}')::text[] AS settings
FROM pg_roles g
JOIN pg_auth_members m ON m.roleid = g.oid AND NOT m.admin_option
JOIN pg_roles r ON r.oid = m.member
WHERE g.rolname = 'millstream_analyst'
ORDER BY r.rolname
