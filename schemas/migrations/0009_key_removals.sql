-- A store that removes a key with all its versions says so in one event. It is folded into every row of the key as a
-- deletion of its order, also into those that come later: so its order is kept where every writer of the key comes by.
-- See pipeline/decisions/0003-head-rows-for-versions.md.
ALTER TABLE millstream.objects
    ADD COLUMN removed_time   bigint,
    ADD COLUMN removed_seq    bigint,
    ADD COLUMN removed_class  smallint,
    -- Of the next step, as is the index: here is all that readers must wait for, which takes a moment; there is what takes
    -- time and keeps only writers out.
    ADD COLUMN older_metadata jsonb;
DROP INDEX millstream.objects_time;

COMMENT ON COLUMN millstream.objects.removed_time IS 'Only on the row of version '''': time of the newest removal of the whole key, as in order_time; null where there was none';
COMMENT ON COLUMN millstream.objects.removed_seq IS 'The emitter''s number of that removal, as in order_seq';
COMMENT ON COLUMN millstream.objects.removed_class IS 'How far the order of that removal can be trusted, as in order_class';
COMMENT ON COLUMN millstream.objects.versioned IS 'Only on the row of version '''': the key has other versions or was once removed as a whole, so current is derived over all its rows';
COMMENT ON COLUMN millstream.objects.metadata IS 'User metadata; null when it is older than the facts';
COMMENT ON COLUMN millstream.objects.older_metadata IS 'User metadata that is older than the facts: known, but neither shown nor searched';
