-- What is stored of the keys of a batch, without locks: a redelivered event ends here.
SELECT i.ordinal, o.order_time, o.order_seq, o.kind, o.etag, o.size, o.order_class,
       o.desc_time, o.desc_seq, o.desc_hash, o.versioned
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY AS i (store, bucket, key, version_id, ordinal)
JOIN millstream.objects o
  ON o.store = i.store AND o.bucket = i.bucket AND o.key = i.key AND o.version_id = i.version_id
