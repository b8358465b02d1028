-- The statement that makes the account that writes, quoted by the server: $1 its name, $2 the verifier of its password or null.
SELECT format('CREATE ROLE %I LOGIN', $1::text) || coalesce(format(' PASSWORD %L', $2::text), '')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)
