-- Most of what a write costs here are comparisons in the key index. They end at the first column that differs, so the
-- one that all rows share, the store, comes after those that tell rows apart. Listing a bucket reads it in order as before.
ALTER TABLE millstream.objects
    DROP CONSTRAINT objects_pkey,
    ADD CONSTRAINT objects_pkey PRIMARY KEY (bucket, key, store, version_id);
