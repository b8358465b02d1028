//! Decodes one record into the entries of a stream, whatever its dialect.
//!
//! A record is understood as a whole or refused as a whole. Nothing that a producer sends can cause a panic here, or make
//! it take more memory than [`UNPACKED_MAX`](super::inflate::UNPACKED_MAX).

use bytes::Bytes;

use super::decoded::{self, Decoded, Part};
use super::entry::{Entry, Flags, split};
use super::key::Place;
use super::name::Template;
use super::packed;
use super::shipped::{self, Paths};
use super::time::Time;
use super::{inflate, name, otlp, subscription};
use crate::refusal::{Refusal, RefusalReason};

/// One record as a source delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The bytes of the record.
    pub payload: &'a [u8],
    /// Its key; of plain text the name of the stream.
    pub key: &'a [u8],
    /// Its place in the stream from which it was read.
    pub place: Place,
    /// When it was published, in milliseconds since 1970.
    pub published_at_ms: i64,
}

/// How records are read that say less than they could.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The stream of a resource of OTLP.
    pub otlp_stream: Template,
    /// Where shippers write what.
    pub paths: Paths,
}

/// Decodes a record.
pub fn decode(input: Input<'_>, options: &Options) -> Decoded {
    decoded(input, options).unwrap_or_else(Decoded::Refused)
}

fn decoded(input: Input<'_>, options: &Options) -> Result<Decoded, Refusal> {
    let Input { payload, key, place, published_at_ms } = input;
    if payload.starts_with(&packed::MAGIC) {
        let (stream, entries) = packed::unpack(payload, place, published_at_ms)?;
        return Ok(Decoded::Entries(vec![Part { stream: stream.to_owned(), owner: None, entries }]));
    }
    if inflate::is_gzip(payload) {
        let document = inflate::inflate(payload)?;
        return match otlp::is_json(&document) {
            true => otlp::json(&document, &options.otlp_stream, place, published_at_ms).map(Decoded::Entries),
            false => subscription::decode(&document, place, published_at_ms),
        };
    }
    if payload.first() == Some(&b'{') {
        if let Some(document) = subscription::wrapped(payload) {
            return subscription::decode(&document?, place, published_at_ms);
        }
        if subscription::is_payload(payload)
            && let Ok(decoded) = subscription::decode(payload, place, published_at_ms)
        {
            return Ok(decoded);
        }
        if otlp::is_json(payload)
            && let Ok(parts) = otlp::json(payload, &options.otlp_stream, place, published_at_ms)
        {
            return Ok(Decoded::Entries(parts));
        }
        if let Some(part) = shipped::decode(payload, key, &options.paths, place, published_at_ms)? {
            return Ok(Decoded::Entries(vec![part]));
        }
    }
    plain(payload, key, place, published_at_ms)
}

/// Plain text, whose record is keyed by its stream.
fn plain(payload: &[u8], key: &[u8], place: Place, published_at_ms: i64) -> Result<Decoded, Refusal> {
    if key.is_empty() {
        let detail = "neither a dialect that names its stream, nor text with the name of its stream as the key";
        return Err(Refusal::new(RefusalReason::UnknownShape, detail));
    }
    let stream = name::check(key)?.to_owned();
    let time = Time::of(None, published_at_ms);
    decoded::check(split(payload).take(decoded::ENTRIES_MAX + 1).count())?;
    let text = Bytes::copy_from_slice(payload);
    let mut entries = Vec::new();
    for (index, (range, is_open)) in (0..).zip(split(payload)) {
        let flags = if is_open { Flags::OPEN } else { Flags::default() };
        entries.push(Entry { key: place.key(time.ns(), index), text: text.slice(range), flags, extra: None });
    }
    Ok(Decoded::Entries(vec![Part { stream, owner: None, entries }]))
}
