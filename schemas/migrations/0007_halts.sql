-- What a lease remembers beside its position. See "Gaps" in pipeline/README.md.
ALTER TABLE millstream.lease
    -- In which era of the partition the record before `next_position` was written: the opening of an embedded log, the
    -- leader epoch of Kafka. Null where that is not known. Positions of an era that the stream does not have are lost.
    ADD COLUMN era bigint,
    -- The partition is halted because records were lost. Only a person ends that, with `millstream positions`.
    ADD COLUMN halted_at timestamptz,
    ADD COLUMN halt_reason text;

COMMENT ON COLUMN millstream.lease.era IS 'Era of the record before next_position: opening of the embedded log, leader epoch of Kafka; null where unknown';
COMMENT ON COLUMN millstream.lease.halted_at IS 'Since when the partition is halted because records were lost; millstream positions reset ends it';
COMMENT ON COLUMN millstream.lease.halt_reason IS 'What was lost, and why';
