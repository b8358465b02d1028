-- The statement that lets the role of analysts log in within a minute, quoted by the server: $1 the verifier.
SELECT format('ALTER ROLE millstream_analyst PASSWORD %L VALID UNTIL %L', $1::text, now() + interval '1 minute')
