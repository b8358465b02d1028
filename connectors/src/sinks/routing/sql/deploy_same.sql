-- What a request made of a deploy, if it was made before.
SELECT after::text FROM millstream.deploy_change WHERE service = $1 AND revision = $2 AND change_id = $3
