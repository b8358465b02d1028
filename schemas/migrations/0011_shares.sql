-- Shares of a pipeline (of object events: the stores): which are put aside, and how much of each is in quarantine.
-- See pipeline/README.md, "A flood of bad events".
CREATE TABLE millstream.share_pause (
    pipeline   text        NOT NULL COLLATE "C",
    share      text        NOT NULL COLLATE "C",
    reason     text        NOT NULL,
    paused_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Set by `millstream resume`: new records are written again, and those that were put aside are being written.
    -- The row is deleted once none of them is left.
    resumed_at timestamptz,
    PRIMARY KEY (pipeline, share)
);

-- How the quarantine of each share grew and shrank, one row for each statement: counting the quarantine itself would
-- read all of it, and one counter would make writers wait for each other. Added up now and then.
CREATE TABLE millstream.quarantine_change (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline   text   NOT NULL COLLATE "C",
    share      text   NOT NULL COLLATE "C",
    rows_kept  bigint NOT NULL,
    -- Those of them that were put aside undecoded.
    rows_aside bigint NOT NULL,
    bytes_kept bigint NOT NULL
);

-- Runs as the owner of the tables, so that programs from before this step need no grant for it.
CREATE FUNCTION millstream.quarantine_counted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO millstream.quarantine_change (pipeline, share, rows_kept, rows_aside, bytes_kept)
        SELECT pipeline, store, count(*), count(*) FILTER (WHERE reason = 'share_paused'), sum(octet_length(payload))
        FROM new_rows GROUP BY pipeline, store;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO millstream.quarantine_change (pipeline, share, rows_kept, rows_aside, bytes_kept)
        SELECT pipeline, store, -count(*), -count(*) FILTER (WHERE reason = 'share_paused'), -sum(octet_length(payload))
        FROM old_rows GROUP BY pipeline, store;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO millstream.quarantine_change (pipeline, share, rows_kept, rows_aside, bytes_kept)
        SELECT pipeline, store, sum(sign), sum(sign) FILTER (WHERE reason = 'share_paused'), sum(sign * octet_length(payload))
        FROM (
            SELECT -1 AS sign, pipeline, store, reason, payload FROM old_rows
            UNION ALL
            SELECT 1, pipeline, store, reason, payload FROM new_rows
        ) AS u
        GROUP BY pipeline, store
        HAVING sum(sign) FILTER (WHERE reason = 'share_paused') <> 0;
    ELSE
        DELETE FROM millstream.quarantine_change;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER quarantine_inserted AFTER INSERT ON millstream.quarantine REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION millstream.quarantine_counted();
CREATE TRIGGER quarantine_updated AFTER UPDATE ON millstream.quarantine REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION millstream.quarantine_counted();
CREATE TRIGGER quarantine_deleted AFTER DELETE ON millstream.quarantine REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION millstream.quarantine_counted();
CREATE TRIGGER quarantine_truncated AFTER TRUNCATE ON millstream.quarantine
    FOR EACH STATEMENT EXECUTE FUNCTION millstream.quarantine_counted();

-- What is there already. The triggers above keep others from changing it until this step is committed.
INSERT INTO millstream.quarantine_change (pipeline, share, rows_kept, rows_aside, bytes_kept)
SELECT pipeline, store, count(*), 0, sum(octet_length(payload)) FROM millstream.quarantine GROUP BY pipeline, store;

-- What a resumed share has left, in the order in which it came.
CREATE INDEX quarantine_aside ON millstream.quarantine (pipeline, store, id) WHERE reason = 'share_paused';
-- What retention removes.
CREATE INDEX quarantine_age ON millstream.quarantine (pipeline, quarantined_at);
COMMENT ON COLUMN analytics.quarantine.index IS 'Which event of the record; -1 when the record was refused or put aside as a whole';
