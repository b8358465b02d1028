SET LOCAL enable_seqscan = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL plan_cache_mode = force_generic_plan;
SET LOCAL jit = off;
-- Memory in which pending entries of the metadata index are merged: with the default of 4 MB their list of 4 MB takes
-- several rounds, each of which rewrites the same entries.
SET LOCAL work_mem = '32MB';
