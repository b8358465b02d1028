-- Our own connection, and the load of others: null where this role may not see it.
SELECT current_user::text AS role_name,
       (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS tls,
       CASE WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
           (SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()) END AS active,
       CASE WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN
           (SELECT count(*) FROM pg_stat_activity
            WHERE state = 'active' AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()) END AS waiting
