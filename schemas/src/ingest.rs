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
///
/// One line or one element of an array is held at a time, whatever the body: what is kept of the others is up to `emit`.
/// An array is read twice for that, because whether its first element counts is known only at its end.
pub fn split<'a>(body: &'a [u8], content_type: &str, limits: &Limits, emit: &mut dyn FnMut(Piece<'a>)) {
    let mut numbered = Numbered { next: 0, parts_max: limits.parts_per_body_max, is_over: false, emit };
    if is_lines(content_type) {
        return split_lines(body, limits, &mut numbered);
    }
    match split_document(body, limits, &mut numbered) {
        Ok(Document::Whole) => {}
        Ok(Document::First) => split_lines(body, limits, &mut numbered),
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
    Numbered { next: 0, parts_max: limits.parts_per_body_max, is_over: false, emit }.emit(part);
}

struct Part<'a> {
    payload: Cow<'a, [u8]>,
    bucket: Cow<'a, str>,
    key: Cow<'a, str>,
}

struct Numbered<'e, 'a> {
    next: usize,
    parts_max: usize,
    /// The piece that says so was given: nothing comes after it.
    is_over: bool,
    emit: &'e mut dyn FnMut(Piece<'a>),
}

impl<'a> Numbered<'_, 'a> {
    fn emit(&mut self, part: Result<Part<'a>, Refusal>) {
        let index = self.next;
        self.next += 1;
        if self.is_over {
            return;
        }
        self.is_over = index >= self.parts_max;
        let part = if self.is_over { Err(too_many(self.parts_max)) } else { part };
        (self.emit)(match part {
            Ok(Part { payload, bucket, key }) => Piece::Record { index, payload, bucket, key },
            Err(Refusal { reason, detail }) => Piece::Refused { index, reason, detail },
        });
    }
}

fn too_many(parts_max: usize) -> Refusal {
    Refusal::new(RefusalReason::TooManyParts, format!("more than {parts_max}"))
}

fn is_lines(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        media_type.as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

fn split_lines<'a>(body: &'a [u8], limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        match Envelope::open(line, limits) {
            Ok(envelope) => emit_parts(envelope, limits, numbered),
            Err(refusal) => numbered.emit(Err(refusal)),
        }
        if numbered.is_over {
            return;
        }
    }
    if numbered.next == 0 {
        numbered.emit(Err(Refusal::new(RefusalReason::NotJson, "the body is empty")));
    }
}

/// What a body turned out to be.
enum Document {
    /// One document, of which every part was emitted.
    Whole,
    /// More follows, as in NDJSON that does not say so; nothing was emitted.
    First,
}

/// Splits a body that is one document. An error refuses it as a whole: nothing was emitted.
fn split_document<'a>(body: &'a [u8], limits: &Limits, numbered: &mut Numbered<'_, 'a>) -> Result<Document, Refusal> {
    let text = std::str::from_utf8(body)
        .map_err(|error| Refusal::new(RefusalReason::InvalidUtf8, format!("at byte {}", error.valid_up_to())))?;
    let mut reader = Reader::new(text, limits);
    if reader.at_end() {
        return Err(Refusal::new(RefusalReason::NotJson, "the body is empty"));
    }
    if reader.kind()? == Kind::Array {
        let mut parts = 0;
        read_array(text, limits, &mut |element| {
            parts += element.as_ref().map_or(1, count_parts);
            parts <= limits.parts_per_body_max
        })?;
        if parts == 0 {
            return Err(Refusal::new(RefusalReason::UnknownShape, "the array is empty"));
        }
        read_array(text, limits, &mut |element| {
            match element {
                Ok(envelope) => emit_parts(envelope, limits, numbered),
                Err(fault) => numbered.emit(Err(fault.into())),
            }
            true
        })?;
        return Ok(Document::Whole);
    }
    let mut envelope = Envelope::default();
    envelope.read(&mut reader, limits)?;
    if !reader.at_end() {
        return Ok(Document::First);
    }
    if count_parts(&envelope) > limits.parts_per_body_max {
        return Err(too_many(limits.parts_per_body_max));
    }
    emit_parts(envelope, limits, numbered);
    Ok(Document::Whole)
}

/// Reads an array element by element, passing over those that are over a limit. `element` says whether to go on; an
/// error means that it did not, or that this is no array.
fn read_array<'a>(
    text: &'a str,
    limits: &Limits,
    element: &mut dyn FnMut(Result<Envelope<'a>, Fault>) -> bool,
) -> Result<(), Fault> {
    let mut reader = Reader::new(text, limits);
    reader.array(|reader| {
        let start = reader.mark();
        let mut envelope = Envelope::default();
        let read = match envelope.read(reader, limits) {
            Ok(()) => Ok(envelope),
            Err(fault) if fault.reason == RefusalReason::NotJson => return Err(fault),
            Err(fault) => {
                reader.skip_blindly(start)?;
                Err(fault)
            }
        };
        if element(read) { Ok(()) } else { Err(reader.fault(RefusalReason::TooManyParts)) }
    })?;
    reader.finish()
}

/// The records of a document that stand for themselves, if it is to be split.
fn separate<'e, 'a>(envelope: &'e Envelope<'a>) -> Option<&'e [Record<'a>]> {
    let records = envelope.records.as_deref().filter(|records| records.len() > 1 && envelope.records_bad.is_none());
    records.filter(|_| envelope.shape() == Some(Shape::Notification))
}

fn count_parts(envelope: &Envelope<'_>) -> usize {
    separate(envelope).map_or(1, <[_]>::len)
}

fn emit_parts<'a>(envelope: Envelope<'a>, limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    if let Some(records) = separate(&envelope) {
        return records.iter().for_each(|record| numbered.emit(part(record.text, entity(record), limits)));
    }
    numbered.emit(match envelope.shape() {
        Some(shape) => part(envelope.record.text, entity_of_document(&envelope, shape, limits), limits),
        None => Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects")),
    });
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
