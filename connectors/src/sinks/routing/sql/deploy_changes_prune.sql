-- Requests are not repeated after so long.
DELETE FROM millstream.deploy_change WHERE at < clock_timestamp() - make_interval(hours => $1)
