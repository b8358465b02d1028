-- The row of version '' is the head of a key with versions: it is made if it is not there, marked, and locked, in key
-- order, so that who derives `current` sees every version that was committed. Returns the keys that were removed as a
-- whole before: their heads are written once more, so that RETURNING shows them, and no other key pays for the question.
WITH heads AS (
    INSERT INTO millstream.objects AS o (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class,
        current, versioned, store, bucket, key, version_id, etag)
    SELECT -9223372036854775808, -9223372036854775808, -9223372036854775808, -9223372036854775808, 0, NULL, 0, 0,
           false, true, i.store, i.bucket, i.key, '', ''
    FROM unnest($1::text[], $2::text[], $3::text[]) AS i (store, bucket, key)
    ORDER BY i.bucket COLLATE "C", i.key COLLATE "C", i.store COLLATE "C"
    ON CONFLICT (store, bucket, key, version_id) DO UPDATE SET versioned = true
    WHERE NOT o.versioned OR o.removed_time IS NOT NULL
    RETURNING store, bucket, key, removed_time
)
SELECT bucket, key, store FROM heads WHERE removed_time IS NOT NULL
