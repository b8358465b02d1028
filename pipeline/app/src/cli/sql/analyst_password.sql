-- The statement that gives an account another password, quoted by the server: $1 its name, $2 the verifier.
SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)
