//! The limits of one record: whatever a producer sends, decoding costs no more than these allow.

use crate::refusal::{Refusal, RefusalReason};

/// The limits that [`objects::decode`](crate::objects::decode()) and [`split`](crate::ingest::split) enforce.
///
/// A record over a limit is refused with a reason of its own, never cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one record; default 1 MiB, the largest message that SQS carries and Kafka brokers take unconfigured.
    pub record_bytes_max: usize,
    /// Nesting depth of JSON values; default 64, ten times what any dialect uses. More than 128 acts as 128, because
    /// reading is recursive and the stack is limited.
    pub json_depth_max: usize,
    /// Members of one JSON object; default 4,096, far above any dialect and cheap to hold in memory.
    pub json_keys_max: usize,
    /// Bytes of one JSON string as written; default 256 KiB, room for the 256 KiB message SNS wraps into a string.
    pub json_string_bytes_max: usize,
    /// Digits of one JSON number; default 64, more than any integer or double needs to be written exactly.
    pub json_number_digits_max: usize,
    /// Bytes of an object key after decoding; default 1,024, the limit of S3.
    pub key_bytes_max: usize,
    /// Bytes of a bucket name; default 255, what the oldest S3 region allowed.
    pub bucket_bytes_max: usize,
    /// Bytes of a version id; default 1,024, so that bucket, key and version together fit one index row of Postgres.
    pub version_id_bytes_max: usize,
    /// Bytes of an entity tag; default 1 KiB: real ones have up to 40, some stores put a hash list there.
    pub etag_bytes_max: usize,
    /// Bytes of a content type; default 1 KiB, so that an index on it cannot refuse a row (2,704 bytes in Postgres).
    pub content_type_bytes_max: usize,
    /// Bytes of the user metadata as JSON text, and likewise of the tags; default 64 KiB, 30 times what S3 allows.
    pub metadata_bytes_max: usize,
    /// Events in one record; default 1,000: a notification of S3 has at most 64 KB, which holds about a hundred.
    pub events_per_record_max: usize,
    /// Parts of one HTTP body; default 100,000: what 16 MiB hold of the smallest useful events. A record takes memory
    /// beside its bytes, and a body of nothing but commas would have millions.
    pub parts_per_body_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes_max: 1024 * 1024,
            json_depth_max: 64,
            json_keys_max: 4096,
            json_string_bytes_max: 256 * 1024,
            json_number_digits_max: 64,
            key_bytes_max: 1024,
            bucket_bytes_max: 255,
            version_id_bytes_max: 1024,
            etag_bytes_max: 1024,
            content_type_bytes_max: 1024,
            metadata_bytes_max: 64 * 1024,
            events_per_record_max: 1000,
            parts_per_body_max: 100_000,
        }
    }
}

/// Refuses text beyond its limit.
pub(crate) fn within(text: &str, bytes_max: usize, reason: RefusalReason) -> Result<(), Refusal> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(Refusal::new(reason, format!("{} bytes, the limit is {bytes_max}", text.len())))
}
