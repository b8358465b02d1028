//! What the decoders of every domain are given.

/// The header by which a record says which store its events speak of. Only endpoints and bridges of ours set it.
pub const STORE_HEADER: &str = "millstream-store";

/// One record as a source delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The bytes of the record.
    pub payload: &'a [u8],
    /// Headers of the record: `ce_*` of Kafka, `ce-*` of HTTP, unless `content-type` says that the payload is the whole
    /// event; all others are ignored.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// When the record was published, in milliseconds since 1970. A source that does not know says when it arrived:
    /// event times are judged against this, so zero would refuse everything as lying in the future.
    pub published_at_ms: i64,
}
