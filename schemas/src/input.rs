//! The input of the decoders of every domain.

/// The header that names the store of a record's events. Only our endpoints and bridges set it.
pub const STORE_HEADER: &str = "millstream-store";

/// One record as a source delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The bytes of the record.
    pub payload: &'a [u8],
    /// Headers of the record: `ce_*` of Kafka, `ce-*` of HTTP, unless `content-type` says that the payload is the whole
    /// event; all others are ignored.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// When the record was published, in milliseconds since 1970. A source that does not know this gives the time of
    /// arrival: event times are compared with it, so zero would refuse every event as lying in the future.
    pub published_at_ms: i64,
}
