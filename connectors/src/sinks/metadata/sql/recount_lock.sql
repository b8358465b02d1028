-- Two repairs of one bucket at the same time would both add the same difference. The second one's look begins only when
-- the first has committed.
SELECT pg_advisory_xact_lock(hashtextextended($2, hashtext($1)))
