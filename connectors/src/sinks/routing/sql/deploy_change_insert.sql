INSERT INTO millstream.deploy_change (service, revision, change_id, after, at)
VALUES ($1, $2, $3, $4::jsonb, $5::timestamptz)
