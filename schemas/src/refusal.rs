//! Why a record or an event cannot be understood: a closed list of reasons, each with the name that metrics and tables
//! use. Each domain has its own reasons for filtering events that are understood.

use std::fmt;

macro_rules! refusal_reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// Why a record or an event cannot be understood; the closed list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RefusalReason { $($(#[$doc])* $variant,)* }

        impl RefusalReason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stable name, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

refusal_reasons! {
    /// The bytes are not one JSON document.
    NotJson = "not_json",
    /// The bytes, or a decoded key, are not UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// JSON, but none of the accepted dialects.
    UnknownShape = "unknown_shape",
    /// Over `record_bytes_max`.
    RecordTooLarge = "record_too_large",
    /// Over `json_depth_max`.
    JsonTooDeep = "json_too_deep",
    /// Over `json_keys_max`.
    JsonTooManyKeys = "json_too_many_keys",
    /// Over `json_string_bytes_max`.
    JsonStringTooLong = "json_string_too_long",
    /// Over `json_number_digits_max`.
    JsonNumberTooLong = "json_number_too_long",
    /// Over `events_per_record_max`.
    TooManyEvents = "too_many_events",
    /// Over `parts_per_body_max`.
    TooManyParts = "too_many_parts",
    /// More than two envelopes around each other, of SNS, SQS or Pub/Sub.
    TooManyEnvelopes = "too_many_envelopes",
    /// Over `bucket_bytes_max`.
    BucketTooLong = "bucket_too_long",
    /// Over `key_bytes_max`.
    KeyTooLong = "key_too_long",
    /// Over `version_id_bytes_max`.
    VersionIdTooLong = "version_id_too_long",
    /// Over `etag_bytes_max`.
    EtagTooLong = "etag_too_long",
    /// Over `content_type_bytes_max`.
    ContentTypeTooLong = "content_type_too_long",
    /// User metadata or tags over `metadata_bytes_max`.
    MetadataTooLong = "metadata_too_long",
    /// A field without which the event means nothing is absent, null or empty.
    MissingField = "missing_field",
    /// A field that is read has another JSON type than its dialect requires.
    WrongType = "wrong_type",
    /// A field that is read stands twice in its object.
    DuplicateField = "duplicate_field",
    /// Text with a NUL, which Postgres cannot store.
    NulInText = "nul_in_text",
    /// Text with half of a surrogate pair, which is no character.
    LoneSurrogate = "lone_surrogate",
    /// A size that is negative, fractional or beyond 63 bits.
    BadSize = "bad_size",
    /// A time that is neither RFC 3339 nor one of the accepted forms of ISO 8601.
    BadTime = "bad_time",
    /// A time before 1970 or after 2106.
    TimeOutOfRange = "time_out_of_range",
    /// A time more than 24 hours after the event was published.
    TimeInFuture = "time_in_future",
    /// A major version of the notification (above 2) or of CloudEvents (not 1) that is another format.
    UnsupportedVersion = "unsupported_version",
    /// `data_base64` of CloudEvents or `message.data` of Pub/Sub is not base64.
    BadBase64 = "bad_base64",
    /// The record names no configured source of task events.
    UnknownSource = "unknown_source",
    /// The source does not list the cluster of the event, or the event is of another kind of scheduler.
    ForeignCluster = "foreign_cluster",
    /// The source may not send facts of this kind.
    NotAllowed = "not_allowed",
    /// The version by which events of one entity are ordered is absent, or is no whole number below 2^63.
    NoVersion = "no_version",
    /// A name or an id that is too long or has characters that such a name may not have.
    BadName = "bad_name",
    /// An address that is no IP address, or a port that is no port.
    BadAddress = "bad_address",
    /// A number outside of the range that its field has.
    BadNumber = "bad_number",
    /// The bytes are no gzip, or end early.
    BadGzip = "bad_gzip",
    /// Unpacked it is larger than its limit, or far larger than logs become.
    TooLargeUnpacked = "too_large_unpacked",
    /// A record that our endpoint packed, with other bytes than it had.
    BadRecord = "bad_record",
    /// More containers, ports, addresses or pods in one event than a scheduler writes.
    TooManyItems = "too_many_items",
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A record or event that was refused: the reason to count by and the detail a person reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {detail}")]
pub struct Refusal {
    /// The reason, one of a closed list.
    pub reason: RefusalReason,
    /// What was found and where. Bounded: it never repeats text of the record beyond 64 bytes.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(reason: RefusalReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The refusal of a document inside `field` of another; places and sizes are those of the inner document.
    pub(crate) fn within(self, field: &str) -> Self {
        Self { reason: self.reason, detail: format!("in {field}: {}", self.detail) }
    }
}
