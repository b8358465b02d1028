//! Bodies of HTTP requests to records, one per event, each with the bucket and key that decide its partition.
//!
//! Refuses only what can never be a record: not JSON, of no accepted shape, over a limit. Everything else is a record,
//! also when [`decode`](crate::decode()) will filter or refuse it later, because by then it is stored and can be looked at.
//! A body that is one JSON document is taken or refused as a whole unless it is an array, whose elements (like the
//! lines of NDJSON) stand for themselves as long as the array can be read.

use std::borrow::Cow;

use crate::decode::{self, Attributes};
use crate::effect;
use crate::json::{Fault, Kind, Reader};
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};
use crate::shape::{Envelope, Record, Shape};
use crate::text;

/// One part of a body. Its index counts the parts of the body from zero, refused ones too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record to store.
    Record {
        /// Which part of the body.
        index: usize,
        /// The bytes to store, as a rule a slice of the body.
        payload: Cow<'a, [u8]>,
        /// The bucket, empty when it cannot be read.
        bucket: Cow<'a, str>,
        /// The decoded key, empty when it cannot be read.
        key: Cow<'a, str>,
    },
    /// Something that can never be a record.
    Refused {
        /// Which part of the body.
        index: usize,
        /// Why.
        reason: RefusalReason,
        /// What a person reads.
        detail: String,
    },
}

/// Splits a body: one JSON document, an array of them (a batch of CloudEvents too), or one document a line. A
/// notification with several records becomes several pieces.
///
/// `content_type` matters for NDJSON only; everything else is told by its shape. `emit` is called at least once. A body
/// with more parts than [`Limits::parts_per_body_max`] ends in one that is refused as `too_many_parts`: the caller must
/// not store what came before it, since what comes after it is never seen.
pub fn split<'a>(body: &'a [u8], content_type: &str, limits: &Limits, emit: &mut dyn FnMut(Piece<'a>)) {
    let mut numbered = Numbered { next: 0, emit };
    if is_lines(content_type) {
        return split_lines(body, limits, &mut numbered);
    }
    match split_document(body, limits) {
        Ok(Some(parts)) => parts.into_iter().for_each(|part| numbered.emit(part)),
        Ok(None) => split_lines(body, limits, &mut numbered),
        Err(refusal) => numbered.emit(Err(refusal)),
    }
}

/// The one record of a CloudEvents request in binary mode: the body as it is. The caller keeps the headers with it.
///
/// A request without `ce-specversion` is not in binary mode and is split as [`split`] does.
pub fn split_binary<'a>(
    headers: &'a [(&'a str, &'a [u8])],
    body: &'a [u8],
    content_type: &str,
    limits: &Limits,
    emit: &mut dyn FnMut(Piece<'a>),
) {
    let Some(attributes) = Attributes::of_headers(headers) else {
        return split(body, content_type, limits, emit);
    };
    let part = attributes.and_then(|attributes| {
        let data = Envelope::open(body, limits)?;
        let (bucket, key) = entity_of_data(&data, is_plain(&attributes.event_type));
        Ok(Part { payload: Cow::Borrowed(body), bucket, key })
    });
    Numbered { next: 0, emit }.emit(part);
}

struct Part<'a> {
    payload: Cow<'a, [u8]>,
    bucket: Cow<'a, str>,
    key: Cow<'a, str>,
}

type Parts<'a> = Vec<Result<Part<'a>, Refusal>>;

struct Numbered<'e, 'a> {
    next: usize,
    emit: &'e mut dyn FnMut(Piece<'a>),
}

impl<'a> Numbered<'_, 'a> {
    fn emit(&mut self, part: Result<Part<'a>, Refusal>) {
        let index = self.next;
        self.next += 1;
        (self.emit)(match part {
            Ok(Part { payload, bucket, key }) => Piece::Record { index, payload, bucket, key },
            Err(Refusal { reason, detail }) => Piece::Refused { index, reason, detail },
        });
    }
}

fn is_lines(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        media_type.as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

fn split_lines<'a>(body: &'a [u8], limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    let mut parts = Vec::new();
    let mut lines = 0;
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        lines += 1;
        if lines > limits.parts_per_body_max {
            return numbered.emit(Err(Refusal::new(RefusalReason::TooManyParts, format!("at line {lines}"))));
        }
        match Envelope::open(line, limits) {
            Ok(envelope) => push_parts(envelope, limits, &mut parts),
            Err(refusal) => parts.push(Err(refusal)),
        }
        parts.drain(..).for_each(|part| numbered.emit(part));
    }
    if numbered.next == 0 {
        numbered.emit(Err(Refusal::new(RefusalReason::NotJson, "the body is empty")));
    }
}

/// The parts of a body that is one document; `None` when more follows, as in NDJSON that does not say so.
fn split_document<'a>(body: &'a [u8], limits: &Limits) -> Result<Option<Parts<'a>>, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::new(RefusalReason::InvalidUtf8, format!("at byte {}", error.valid_up_to())))?;
    let mut reader = Reader::new(text, limits);
    if reader.at_end() {
        return Err(Refusal::new(RefusalReason::NotJson, "the body is empty"));
    }
    let mut parts = Vec::new();
    if reader.kind()? == Kind::Array {
        reader.array(|reader| read_element(reader, limits, &mut parts))?;
        reader.finish()?;
        if parts.is_empty() {
            return Err(Refusal::new(RefusalReason::UnknownShape, "the array is empty"));
        }
        return Ok(Some(parts));
    }
    let mut envelope = Envelope::default();
    envelope.read(&mut reader, limits)?;
    if !reader.at_end() {
        return Ok(None);
    }
    push_parts(envelope, limits, &mut parts);
    Ok(Some(parts))
}

fn read_element<'a>(reader: &mut Reader<'a, '_>, limits: &Limits, parts: &mut Parts<'a>) -> Result<(), Fault> {
    let start = reader.mark();
    if parts.len() >= limits.parts_per_body_max {
        return Err(reader.fault(RefusalReason::TooManyParts));
    }
    let mut envelope = Envelope::default();
    match envelope.read(reader, limits) {
        Ok(()) => push_parts(envelope, limits, parts),
        Err(fault) if fault.reason == RefusalReason::NotJson => return Err(fault),
        Err(fault) => {
            reader.skip_blindly(start)?;
            parts.push(Err(fault.into()));
        }
    }
    Ok(())
}

fn push_parts<'a>(mut envelope: Envelope<'a>, limits: &Limits, parts: &mut Parts<'a>) {
    let Some(shape) = envelope.shape() else {
        parts.push(Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects")));
        return;
    };
    match (shape, envelope.records.take()) {
        (Shape::Notification, Some(records)) if records.len() > 1 && envelope.records_bad.is_none() => {
            parts.extend(records.iter().map(|record| part(record.text, entity(record), limits)));
        }
        (_, records) => {
            envelope.records = records;
            parts.push(part(envelope.record.text, entity_of_document(&envelope, shape, limits), limits));
        }
    }
}

fn part<'a>(text: &'a str, (bucket, key): Entity<'a>, limits: &Limits) -> Result<Part<'a>, Refusal> {
    crate::judge::within(text, limits.record_bytes_max, RefusalReason::RecordTooLarge)?;
    Ok(Part { payload: Cow::Borrowed(text.as_bytes()), bucket, key })
}

/// Bucket and decoded key.
type Entity<'a> = (Cow<'a, str>, Cow<'a, str>);

fn entity_of_document<'a>(envelope: &Envelope<'a>, shape: Shape, limits: &Limits) -> Entity<'a> {
    match shape {
        Shape::Notification => envelope.records.iter().flatten().next().map(entity).unwrap_or_default(),
        Shape::Record => entity(&envelope.record),
        Shape::EventBridge => envelope.inner.as_ref().map(|detail| raw_entity(&detail.record)).unwrap_or_default(),
        Shape::CloudEvent => {
            let is_plain = envelope.event_type.as_text().is_some_and(is_plain);
            envelope.inner.as_ref().map(|data| entity_of_data(data, is_plain)).unwrap_or_default()
        }
        Shape::TestEvent => Entity::default(),
        Shape::Sns => {
            let inner = decode::message(envelope).and_then(|text| Envelope::open(text.as_bytes(), limits).ok());
            let Some(inner) = inner else { return Entity::default() };
            match inner.shape() {
                // Another envelope of SNS is not opened here: it is rare, and any partition is right.
                None | Some(Shape::Sns) => Entity::default(),
                Some(shape) => {
                    let (bucket, key) = entity_of_document(&inner, shape, limits);
                    (Cow::Owned(bucket.into_owned()), Cow::Owned(key.into_owned()))
                }
            }
        }
    }
}

/// The entity in the data of CloudEvents: form-encoded like S3's unless it is plain.
fn entity_of_data<'a>(data: &Envelope<'a>, is_plain: bool) -> Entity<'a> {
    match data.records.iter().flatten().next() {
        _ if is_plain => raw_entity(&data.record),
        Some(record) => entity(record),
        None => entity(&data.record),
    }
}

fn is_plain(event_type: &str) -> bool {
    effect::of_plain_type(event_type).is_some()
}

fn entity<'a>(record: &Record<'a>) -> Entity<'a> {
    let (bucket, key) = raw_entity(record);
    if record.is_ceph { (bucket, key) } else { (bucket, text::decode_key(key).unwrap_or_default()) }
}

fn raw_entity<'a>(record: &Record<'a>) -> Entity<'a> {
    (record.bucket.to_text(), record.object.key.to_text())
}
