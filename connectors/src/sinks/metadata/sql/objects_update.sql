-- Folds newer facts and descriptions into rows that were looked at or locked before. A place and the transaction that
-- wrote it name one version of a row: one that was changed meanwhile is not updated, and so missed in the count.
-- Metadata that is older than the facts is kept where it is neither shown nor searched.
UPDATE millstream.objects o
SET kind         = CASE WHEN i.facts_newer THEN i.kind ELSE o.kind END,
    order_time   = CASE WHEN i.facts_newer THEN i.order_time ELSE o.order_time END,
    order_seq    = CASE WHEN i.facts_newer THEN i.order_seq ELSE o.order_seq END,
    etag         = CASE WHEN i.facts_newer THEN i.etag ELSE o.etag END,
    order_class  = CASE WHEN i.facts_newer THEN i.order_class WHEN i.facts_equal THEN greatest(i.order_class, o.order_class) ELSE o.order_class END,
    size         = CASE WHEN i.facts_newer THEN i.size WHEN i.facts_equal THEN greatest(i.size, o.size) ELSE o.size END,
    current      = i.current,
    desc_time    = CASE WHEN i.desc_newer THEN i.desc_time ELSE o.desc_time END,
    desc_seq     = CASE WHEN i.desc_newer THEN i.desc_seq ELSE o.desc_seq END,
    desc_hash    = CASE WHEN i.desc_newer THEN i.desc_hash WHEN i.desc_merged THEN greatest(i.desc_hash, o.desc_hash) ELSE o.desc_hash END,
    content_type = CASE WHEN i.desc_newer THEN i.content_type WHEN i.desc_merged THEN greatest(i.content_type COLLATE "C", o.content_type) ELSE o.content_type END,
    metadata     = CASE WHEN i.shown THEN CASE WHEN i.desc_newer THEN i.metadata::jsonb WHEN i.desc_merged THEN greatest(i.metadata::jsonb, o.metadata, o.older_metadata) ELSE coalesce(o.metadata, o.older_metadata) END END,
    older_metadata = CASE WHEN NOT i.shown THEN CASE WHEN i.desc_newer THEN i.metadata::jsonb WHEN i.desc_merged THEN greatest(i.metadata::jsonb, o.metadata, o.older_metadata) ELSE coalesce(o.metadata, o.older_metadata) END END,
    tags         = CASE WHEN i.desc_newer THEN i.tags::jsonb WHEN i.desc_merged THEN greatest(i.tags::jsonb, o.tags) ELSE o.tags END
FROM unnest($1::text[], $2::boolean[], $3::boolean[], $4::boolean[], $5::boolean[], $6::boolean[], $7::smallint[], $8::bigint[], $9::bigint[],
            $10::smallint[], $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[], $17::text[], $18::text[], $19::text[], $20::boolean[])
    AS i (place, facts_newer, facts_equal, desc_newer, desc_merged, current, kind, order_time, order_seq,
          order_class, etag, size, desc_time, desc_seq, desc_hash, content_type, metadata, tags, writer, shown)
WHERE o.ctid = i.place::tid AND o.xmin = i.writer::xid
