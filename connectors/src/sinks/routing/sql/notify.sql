SELECT pg_notify('millstream_routes', '')
