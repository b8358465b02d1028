//! What a subscription of CloudWatch Logs sends: gzip of a JSON object with the events of one stream. Format: Amazon
//! CloudWatch Logs User Guide, "Using subscription filters".

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::decoded::{Decoded, ENTRIES_MAX, FilterReason, Part, entries_of};
use super::entry::Entry;
use super::key::Place;
use super::packed::Line;
use super::time::{MS, Time};
use crate::envelope::carried::from_base64;
use crate::refusal::{Refusal, RefusalReason};

/// Digits of a number that is a time in milliseconds.
const TIME_DIGITS_MAX: usize = 19;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(borrow, default)]
    owner: Cow<'a, str>,
    #[serde(borrow, default)]
    log_group: Cow<'a, str>,
    #[serde(borrow, default)]
    log_stream: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "few")]
    log_events: Vec<Event<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    /// A text of digits; some stand-ins write a number.
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(borrow, default)]
    extracted_fields: Option<&'a RawValue>,
}

/// As Lambda gets it.
#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    awslogs: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// The payload that Lambda gets wrapped; `None` for any other document.
pub(super) fn wrapped(document: &[u8]) -> Option<Result<Vec<u8>, Refusal>> {
    let wrapped: Wrapped<'_> = serde_json::from_slice(document).ok()?;
    let packed = from_base64(&wrapped.awslogs.data, "awslogs.data");
    Some(packed.and_then(|packed| super::inflate::inflate(&packed)))
}

/// Whether an object may be a payload: those of other origins have no such member.
pub(super) fn is_payload(document: &[u8]) -> bool {
    memchr::memmem::find(document, b"\"messageType\"").is_some()
}

/// Decodes a payload.
pub(super) fn decode(document: &[u8], place: Place, published_at_ms: i64) -> Result<Decoded, Refusal> {
    let bad = |error: serde_json::Error| Refusal::new(RefusalReason::NotJson, error.to_string());
    let payload: Payload<'_> = serde_json::from_slice(document).map_err(bad)?;
    match &*payload.message_type {
        "DATA_MESSAGE" => {}
        "CONTROL_MESSAGE" => return Ok(Decoded::Filtered(FilterReason::ControlMessage)),
        _ => return Ok(Decoded::Filtered(FilterReason::UnsupportedKind)),
    }
    if payload.log_group.is_empty() || payload.log_stream.is_empty() {
        return Err(Refusal::new(RefusalReason::MissingField, "logGroup and logStream"));
    }
    // A group has no colon, so no two streams have one name.
    let stream = format!("{}:{}", payload.log_group, payload.log_stream);
    super::name::check(stream.as_bytes())?;
    let mut entries = Vec::with_capacity(payload.log_events.len());
    let mut index = 0;
    for event in &payload.log_events {
        index = push(&mut entries, event, place, index, published_at_ms);
    }
    let owner = Some(payload.owner.into_owned()).filter(|owner| !owner.is_empty());
    Ok(Decoded::Entries(vec![Part { stream, owner, entries }]))
}

/// Adds an event; returns the index of the next entry in the record.
fn push(entries: &mut Vec<Entry>, event: &Event<'_>, place: Place, index: u64, published_at_ms: i64) -> u64 {
    let time = Time::of(event.timestamp.and_then(milliseconds), published_at_ms);
    let id = event.id.map(text).filter(|id| !id.is_empty() && time.is_own());
    let extra = event.extracted_fields.map(|fields| format!("{{\"extractedFields\":{}}}", fields.get()).into());
    // Docker's driver ends each message with a newline; an event is a line with or without.
    let message = event.message.strip_suffix('\n').unwrap_or(&event.message);
    let line = Line { extra, text: Bytes::copy_from_slice(message.as_bytes()), ..Line::default() };
    let counted = id.map(|id| Place::cloudwatch(&id));
    let first = if counted.is_some() { 0 } else { index };
    let before = entries.len();
    entries.extend(entries_of(line, time, counted.unwrap_or(place), first));
    index + (entries.len() - before) as u64
}

/// No more events than a record may have: an empty one takes more memory than bytes.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Event<'de>>, D::Error> {
    deserializer.deserialize_seq(Few)
}

struct Few;

impl<'de> Visitor<'de> for Few {
    type Value = Vec<Event<'de>>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {ENTRIES_MAX} log events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<Self::Value, A::Error> {
        let mut few = Vec::new();
        while let Some(event) = events.next_element()? {
            if few.len() == ENTRIES_MAX {
                return Err(A::Error::invalid_length(ENTRIES_MAX + 1, &self));
            }
            few.push(event);
        }
        Ok(few)
    }
}

/// Nanoseconds of a whole number of milliseconds, quoted or not. Beyond the year 2262 it is the last one: later than any
/// publishing.
fn milliseconds(value: &RawValue) -> Option<i64> {
    let text = text(value);
    let ms: i64 = Some(text).filter(|text| text.len() <= TIME_DIGITS_MAX)?.parse().ok()?;
    Some(ms.saturating_mul(MS))
}

/// A text, or a number as it is written; nothing of anything else.
fn text(value: &RawValue) -> Cow<'_, str> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw).map(Cow::Owned).unwrap_or_default(),
        Some(b'0'..=b'9' | b'-') => Cow::Borrowed(raw),
        _ => Cow::Borrowed(""),
    }
}
