//! Splits bodies of HTTP requests into records, one per event, each with the object or task that decides its domain and
//! its partition.
//!
//! It refuses only a part that can never be a record: not JSON, of no accepted shape, over a limit. Everything else is
//! a record, even if [`objects::decode`](crate::objects::decode()) will filter or refuse it later: by then it is stored
//! and can be inspected. A body that is one JSON document is taken or refused as a whole unless it is an array, whose
//! elements (like the documents of a body of several) are judged one by one as long as the array can be read.

mod documents;
mod entity;
pub use entity::Subject;

use std::borrow::Cow;

use crate::envelope::cloudevents::{self, Attributes};
use crate::envelope::{Envelope, Shape};
use crate::json::{Fault, Kind, Reader};
use crate::limits::Limits;
use crate::objects::notification;
use crate::objects::record::Record;
use crate::refusal::{Refusal, RefusalReason};
use crate::tasks::entity::of_element;
use crate::tasks::list::{self, Element};

/// One part of a body. Its index counts the parts of the body from zero, refused ones too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record to store.
    Record {
        /// The index of the part of the body.
        index: usize,
        /// The bytes to store, as a rule a slice of the body.
        payload: Cow<'a, [u8]>,
        /// The object or task that decides its domain and its partition.
        subject: Subject<'a>,
    },
    /// A part that can never be a record.
    Refused {
        /// The index of the part of the body.
        index: usize,
        /// The reason.
        reason: RefusalReason,
        /// The explanation, for people.
        detail: String,
    },
}

/// Splits a body: one JSON document, an array of them (a batch of CloudEvents too), or documents one behind the other,
/// a line for each or not. A notification with several records becomes several pieces, and so does a batch of messages,
/// an answer of DescribeTasks, and a list of Kubernetes.
///
/// `content_type` matters for NDJSON only; all else is recognised by its shape. `emit` is called at least once. A body
/// with more parts than [`Limits::parts_per_body_max`] ends in one that is refused as `too_many_parts`: the caller must
/// not store the parts before it, because those after it are never emitted.
///
/// Only one document or one element of an array is held at a time; `emit` decides what it keeps of the others. For that
/// an array is read twice, because only its end shows whether its first element counts.
pub fn split<'a>(body: &'a [u8], content_type: &str, limits: &Limits, emit: &mut dyn FnMut(Piece<'a>)) {
    let mut numbered = Numbered { next: 0, parts_max: limits.parts_per_body_max, is_over: false, emit };
    match std::str::from_utf8(body) {
        Ok(text) if is_lines(content_type) => documents::split(text, 0, true, limits, &mut numbered),
        Ok(text) => {
            if let Err(refusal) = split_text(text, limits, &mut numbered) {
                numbered.emit(Err(refusal));
            }
        }
        Err(_) if is_lines(content_type) => documents::split_bytes(body, limits, &mut numbered),
        Err(error) => {
            let detail = format!("at byte {}", error.valid_up_to());
            numbered.emit(Err(Refusal::new(RefusalReason::InvalidUtf8, detail)));
        }
    }
    if numbered.next == 0 {
        numbered.emit(Err(Refusal::new(RefusalReason::NotJson, "the body is empty")));
    }
}

/// The one record of a CloudEvents request in binary mode: the unchanged body. The caller keeps the headers with it.
///
/// A request without `ce-specversion` is not in binary mode and is split as [`split`] does; nor is one whose content
/// type is that of the structured mode or of a batch, whatever headers stand beside it.
pub fn split_binary<'a>(
    headers: &'a [(&'a str, &'a [u8])],
    body: &'a [u8],
    content_type: &str,
    limits: &Limits,
    emit: &mut dyn FnMut(Piece<'a>),
) {
    let attributes = Attributes::of_headers(headers).filter(|_| !is_structured(content_type));
    let Some(attributes) = attributes else {
        return split(body, content_type, limits, emit);
    };
    let part = attributes.and_then(|attributes| {
        let data = Envelope::open(body, limits)?;
        let subject = entity::of_binary(&data, &attributes, limits);
        Ok(Part { payload: Cow::Borrowed(body), subject })
    });
    Numbered { next: 0, parts_max: limits.parts_per_body_max, is_over: false, emit }.emit(part);
}

/// True for a content type whose body holds its CloudEvents whole, attributes and data; headers named `ce-*` beside it
/// mean nothing and must not be kept.
pub fn is_structured(content_type: &str) -> bool {
    cloudevents::is_structured(content_type.as_bytes())
}

struct Part<'a> {
    payload: Cow<'a, [u8]>,
    subject: Subject<'a>,
}

struct Numbered<'e, 'a> {
    next: usize,
    parts_max: usize,
    /// `too_many_parts` was emitted: nothing comes after it.
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
            Ok(Part { payload, subject }) => Piece::Record { index, payload, subject },
            Err(Refusal { reason, detail }) => Piece::Refused { index, reason, detail },
        });
    }
}

fn too_many(parts_max: usize) -> Refusal {
    Refusal::new(RefusalReason::TooManyParts, format!("more than {parts_max}"))
}

fn too_large(bytes: usize, limits: &Limits) -> Refusal {
    let detail = format!("{bytes} bytes, the limit is {}", limits.record_bytes_max);
    Refusal::new(RefusalReason::RecordTooLarge, detail)
}

fn is_lines(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(
        media_type.as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

/// Splits a body that is not declared as lines. An error refuses it as a whole: nothing was emitted.
fn split_text<'a>(text: &'a str, limits: &Limits, numbered: &mut Numbered<'_, 'a>) -> Result<(), Refusal> {
    let start = documents::begin(text, 0);
    let is_whole = |end: usize| documents::begin(text, end) == text.len();
    if is_whole(start) {
        return Ok(());
    }
    let mut reader = Reader::at(text, start, limits);
    if reader.kind()? == Kind::Array {
        let mut parts = 0;
        let end = read_array(text, start, limits, &mut |element| {
            parts += element.as_ref().map_or(1, count_parts);
            parts <= limits.parts_per_body_max
        })?;
        split_array(text, start, limits, numbered);
        documents::split(text, end, false, limits, numbered);
        return Ok(());
    }
    let mark = reader.mark();
    let mut envelope = Envelope::default();
    if let Err(fault) = envelope.read(&mut reader, limits) {
        // A document over a limit does not hide those after it.
        let is_first = fault.reason != RefusalReason::NotJson && reader.pass_over(mark).is_ok();
        if !is_first || is_whole(reader.position()) {
            return Err(fault.into());
        }
        documents::split(text, start, false, limits, numbered);
        return Ok(());
    }
    if is_whole(reader.position()) && count_parts(&envelope) > limits.parts_per_body_max {
        return Err(too_many(limits.parts_per_body_max));
    }
    emit_parts(envelope, limits, numbered);
    documents::split(text, reader.position(), false, limits, numbered);
    Ok(())
}

/// Emits the elements of an array that was read to its end before.
fn split_array<'a>(text: &'a str, start: usize, limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    let mut is_empty = true;
    let read = read_array(text, start, limits, &mut |element| {
        is_empty = false;
        match element {
            Ok(envelope) => emit_parts(envelope, limits, numbered),
            Err(fault) => numbered.emit(Err(fault.into())),
        }
        !numbered.is_over
    });
    if is_empty && read.is_ok() {
        numbered.emit(Err(Refusal::new(RefusalReason::UnknownShape, "the array is empty")));
    }
}

/// Reads an array element by element, skipping those over a limit, and returns where it ends. `element` returns whether
/// to go on; an error means that it returned false, or that this is no array.
fn read_array<'a>(
    text: &'a str,
    start: usize,
    limits: &Limits,
    element: &mut dyn FnMut(Result<Envelope<'a>, Fault>) -> bool,
) -> Result<usize, Fault> {
    let mut reader = Reader::at(text, start, limits);
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
    Ok(reader.position())
}

/// The records of a document, if it is split into them.
fn separate<'e, 'a>(envelope: &'e Envelope<'a>) -> Option<&'e [Record<'a>]> {
    let records = envelope.records.as_deref().filter(|records| records.len() > 1 && envelope.records_bad.is_none())?;
    // Without its envelope, a record that does not name its store would be taken for one of AWS.
    let told_by_envelope = |record: &Record<'_>| !record.is_message() && notification::dialect(record, false).is_none();
    let must_stay = envelope.minio_name.is_present() && records.iter().any(told_by_envelope);
    (!must_stay && envelope.shape() == Some(Shape::Notification)).then_some(records)
}

/// The text of a document, if it is a list that is split into its elements.
fn list_of<'a>(envelope: &Envelope<'a>) -> Option<&'a str> {
    let is_list = match envelope.shape()? {
        Shape::EcsTasks => true,
        Shape::Kubernetes => list::is_list(envelope.kind.as_text().unwrap_or_default()),
        _ => false,
    };
    // One without elements, or that cannot be read as a list, stays whole: decoding says what it is.
    Some(envelope.record.text).filter(|text| is_list && list::count(text) > 0)
}

fn count_parts(envelope: &Envelope<'_>) -> usize {
    match list_of(envelope) {
        Some(list) => list::count(list),
        None => separate(envelope).map_or(1, <[_]>::len),
    }
}

fn emit_parts<'a>(envelope: Envelope<'a>, limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    if let Some(records) = separate(&envelope) {
        return records
            .iter()
            .for_each(|record| numbered.emit(part(record.text, entity::of_record(record, 0, limits), limits)));
    }
    if let Some(list) = list_of(&envelope) {
        let read = list::each(list, &mut |element| {
            if !numbered.is_over {
                numbered.emit(element_part(element, limits));
            }
        });
        debug_assert!(read.is_ok(), "the elements were counted before");
        return;
    }
    numbered.emit(match envelope.shape() {
        Some(shape) => part(envelope.record.text, entity::of_document(&envelope, shape, 0, limits), limits),
        None => Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects")),
    });
}

/// The part that is an element of a list, by itself or in a list of its own.
fn element_part<'a>(element: Element<'a>, limits: &Limits) -> Result<Part<'a>, Refusal> {
    let document = element.document();
    if document.len() > limits.record_bytes_max {
        return Err(too_large(document.len(), limits));
    }
    if Envelope::open(document.as_bytes(), limits)?.shape().is_none() {
        return Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects"));
    }
    let payload = match document {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    };
    Ok(Part { payload, subject: Subject::Task(of_element(element)) })
}

fn part<'a>(text: &'a str, subject: Subject<'a>, limits: &Limits) -> Result<Part<'a>, Refusal> {
    if text.len() > limits.record_bytes_max {
        return Err(too_large(text.len(), limits));
    }
    Ok(Part { payload: Cow::Borrowed(text.as_bytes()), subject })
}
