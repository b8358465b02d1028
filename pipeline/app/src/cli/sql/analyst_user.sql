-- The statements that make an account, quoted by the server: $1 its name, $2 the verifier of its password.
-- Settings are not inherited from a role, so each account has its own.
SELECT format('CREATE ROLE %1$I LOGIN PASSWORD %2$L CONNECTION LIMIT 8 IN ROLE millstream_analyst;'
    || 'ALTER ROLE %1$I SET default_transaction_read_only = on;'
    || 'ALTER ROLE %1$I SET statement_timeout = ''60s'';'
    || 'ALTER ROLE %1$I SET idle_in_transaction_session_timeout = ''60s'';'
    || 'ALTER ROLE %1$I SET search_path = analytics;'
    || 'ALTER ROLE %1$I SET effective_cache_size = ''128MB''', $1::text, $2::text)
