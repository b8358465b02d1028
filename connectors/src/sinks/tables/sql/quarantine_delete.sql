DELETE FROM millstream.quarantine WHERE id = ANY ($1::bigint[])
