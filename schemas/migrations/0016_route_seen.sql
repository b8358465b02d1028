-- When a process last had the partition, whether it was read to its end or not: what nobody has any more is removed. Null
-- in the rows of older programs.
ALTER TABLE millstream.route_state ADD COLUMN seen_at timestamptz;
