//! Decodes one record into task events, whatever its dialect.
//!
//! Every record has at least one outcome, and every event in it exactly one, in the order of the document. A refused
//! event does not affect its neighbours. Nothing that a producer sends can cause a panic here. To accept one more
//! dialect: add its mark to `envelope.rs`, and a file here that reads it.

use std::cell::Cell;

use super::context::{Context, parse_version};
use super::document::Object;
use super::event::Decoded;
use super::filter::FilterReason;
use super::kubernetes::{self, Told};
use super::list::{self, Element};
use super::source::Source;
use super::{ecs, millstream};
use crate::envelope::carried::{ENVELOPES_MAX, from_base64};
use crate::envelope::cloudevents::{Attributes, PUBSUB_TYPE};
use crate::envelope::{Envelope, Shape};
use crate::input::Input;
use crate::limits::Limits;
use crate::objects::record::Record;
use crate::objects::{cloudevents, effect};
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::Slot;
use crate::text;

/// The header that says that a source went back to an older state, and how often. Only our bridges set it.
pub const EPOCH_HEADER: &str = "millstream-epoch";

type Emit<'e> = dyn FnMut(Decoded) + 'e;

/// Decodes one record. `source` is the configured source that its header names; `None` refuses all that needs one.
/// `emit` is called at least once; the index of an event in its record is the number of calls before it.
pub fn decode(input: Input<'_>, source: Option<&Source>, limits: &Limits, emit: &mut dyn FnMut(Decoded)) {
    let outcome = epoch(input.headers).and_then(|epoch| {
        let events_left = Cell::new(limits.events_per_record_max);
        let context = Context { source, epoch, published_at_ms: input.published_at_ms, limits, events_left };
        let envelope = Envelope::open(input.payload, limits)?;
        match Attributes::of_headers(input.headers) {
            Some(attributes) => {
                let attributes = attributes?;
                cloud_event(&attributes.specversion, &attributes.event_type, Some(&envelope), 0, &context, emit)
            }
            None => dispatch(&envelope, 0, &context, emit),
        }
    });
    if let Err(refusal) = outcome {
        emit(Decoded::Refused(refusal));
    }
}

fn epoch(headers: &[(&str, &[u8])]) -> Result<i64, Refusal> {
    let Some((name, value)) = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(EPOCH_HEADER)) else {
        return Ok(0);
    };
    parse_version(std::str::from_utf8(value).unwrap_or_default(), name)
}

/// Decodes a document by its shape; `wrapped` counts the envelopes around it. After an error nothing was emitted.
fn dispatch(
    envelope: &Envelope<'_>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    let document = envelope.record.text;
    let decoded = match envelope.shape() {
        Some(Shape::Notification) => return notification(envelope, wrapped, context, emit),
        Some(Shape::Sns) => return sns(envelope, wrapped, context, emit),
        Some(Shape::CloudEvent) => return structured(envelope, wrapped, context, emit),
        Some(Shape::Message) => return message(&envelope.record, wrapped, context, emit),
        Some(Shape::PubSub) => return pubsub(envelope, wrapped, context, emit),
        Some(Shape::EcsTasks) => return elements(document, "tasks", context, emit),
        Some(Shape::Kubernetes) => match envelope.kind.as_text() {
            Some(kind) if list::is_list(kind) => return elements(document, kind, context, emit),
            _ => kubernetes::object(&Object::read(document, "the object")?, ("", ""), Told::Listed, context)?,
        },
        Some(Shape::Watch) => kubernetes::frame(&Object::read(document, "the frame")?, context)?,
        Some(Shape::EcsTask) => ecs::task(&Object::read(document, "the task")?, true, context)?,
        Some(Shape::EventBridge) => event_bridge(envelope, context)?,
        Some(Shape::Record) => other_kind(&envelope.record.name.to_text()),
        Some(Shape::TestEvent) => other_kind("s3:TestEvent"),
        None => return Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects")),
    };
    emit(decoded);
    Ok(())
}

fn event_bridge(envelope: &Envelope<'_>, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let detail_type = required(&envelope.detail_type, "detail-type")?;
    let carries_records = envelope.inner.as_ref().is_some_and(|detail| detail.records.is_some());
    if carries_records || effect::is_detail_type(&detail_type) {
        return Ok(other_kind(&detail_type));
    }
    if !matches!(detail_type.as_str(), ecs::TASK_CHANGE | ecs::INSTANCE_CHANGE) {
        return Ok(filtered(FilterReason::UnsupportedKind, &detail_type));
    }
    let missing = || Refusal::new(envelope.inner_bad.unwrap_or(RefusalReason::MissingField), "detail");
    let detail = envelope.inner.as_ref().filter(|_| envelope.inner_bad.is_none()).ok_or_else(missing)?;
    let detail = Object::read(detail.record.text, "detail")?;
    if detail_type == ecs::TASK_CHANGE { ecs::task(&detail, false, context) } else { ecs::instance(&detail, context) }
}

fn structured(
    envelope: &Envelope<'_>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    let specversion = required(&envelope.specversion, "specversion")?;
    let event_type = required(&envelope.event_type, "type")?;
    if envelope.data_base64.is_present() {
        let bytes = from_base64(&required(&envelope.data_base64, "data_base64")?, "data_base64")?;
        let data = Envelope::open(&bytes, context.limits).map_err(|refusal| refusal.within("data_base64"))?;
        return cloud_event(&specversion, &event_type, Some(&data), wrapped, context, emit);
    }
    match (envelope.inner_bad, millstream::kind_of(&event_type)) {
        (Some(reason), Some(_)) => Err(Refusal::new(reason, "data")),
        _ => cloud_event(&specversion, &event_type, envelope.inner.as_deref(), wrapped, context, emit),
    }
}

/// Decodes the data of an event of CloudEvents.
fn cloud_event(
    specversion: &str,
    event_type: &str,
    data: Option<&Envelope<'_>>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    // Every version 1.x must be read like 1.0.
    if specversion.split('.').next() != Some("1") {
        return Err(Refusal::new(RefusalReason::UnsupportedVersion, "specversion is not 1.0"));
    }
    if let Some(kind) = millstream::kind_of(event_type) {
        let data = data.ok_or_else(|| Refusal::new(RefusalReason::MissingField, "data"))?;
        emit(millstream::event(kind, &Object::read(data.record.text, "data")?, context)?);
        return Ok(());
    }
    match data {
        Some(data) if event_type == PUBSUB_TYPE => return dispatch(data, wrapped, context, emit),
        Some(data) if cloudevents::names_events(data) => emit(other_kind(event_type)),
        _ if cloudevents::is_known(event_type) => emit(other_kind(event_type)),
        _ => emit(filtered(FilterReason::UnsupportedKind, event_type)),
    }
    Ok(())
}

/// Lambda gets messages in `Records`; all other records are of objects.
fn notification(
    envelope: &Envelope<'_>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    if let Some(reason) = envelope.records_bad {
        return Err(Refusal::new(reason, "Records"));
    }
    let records = envelope.records.as_deref().unwrap_or_default();
    context.take(records.len())?;
    if records.is_empty() {
        emit(filtered(FilterReason::EmptyList, "Records"));
    }
    for record in records {
        if !record.is_message() {
            emit(other_kind(&record.name.to_text()));
        } else if let Err(refusal) = message(record, wrapped, context, emit) {
            emit(Decoded::Refused(refusal));
        }
    }
    Ok(())
}

fn elements(document: &str, name: &str, context: &Context<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    let mut count = 0;
    list::each(document, &mut |_| count += 1)?;
    context.take(count)?;
    if count == 0 {
        emit(filtered(FilterReason::EmptyList, name));
    }
    list::each(document, &mut |element| emit(self::element(element, context).unwrap_or_else(Decoded::Refused)))
}

fn element(element: Element<'_>, context: &Context<'_>) -> Result<Decoded, Refusal> {
    match element {
        Element::Task(text) => ecs::task(&Object::read(text, "an element of tasks")?, true, context),
        Element::Failure(text) => ecs::missing(&Object::read(text, "an element of failures")?, context),
        Element::Item(text, said) => {
            kubernetes::object(&Object::read(text, "an element of items")?, said, Told::Listed, context)
        }
    }
}

fn sns(envelope: &Envelope<'_>, wrapped: usize, context: &Context<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    let kind = required(&envelope.sns_type, "Type")?;
    if kind != "Notification" {
        emit(filtered(FilterReason::SubscriptionConfirmation, &kind));
        return Ok(());
    }
    open(required(&envelope.sns_message, "Message")?.as_bytes(), "Message", wrapped, context, emit)
}

fn message(record: &Record<'_>, wrapped: usize, context: &Context<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    open(required(&record.carried, "body")?.as_bytes(), "body", wrapped, context, emit)
}

fn pubsub(envelope: &Envelope<'_>, wrapped: usize, context: &Context<'_>, emit: &mut Emit<'_>) -> Result<(), Refusal> {
    let bytes = from_base64(&required(&envelope.pubsub_data, "message.data")?, "message.data")?;
    open(&bytes, "message.data", wrapped, context, emit)
}

/// Decodes the document that stands in `field` of an envelope; `wrapped` counts the envelopes around that one.
fn open(
    document: &[u8],
    field: &str,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_>,
) -> Result<(), Refusal> {
    if wrapped >= ENVELOPES_MAX {
        let detail = format!("more than {ENVELOPES_MAX} envelopes around each other");
        return Err(Refusal::new(RefusalReason::TooManyEnvelopes, detail));
    }
    Envelope::open(document, context.limits)
        .and_then(|inner| dispatch(&inner, wrapped + 1, context, emit))
        .map_err(|refusal| refusal.within(field))
}

fn required(slot: &Slot<'_>, name: &str) -> Result<String, Refusal> {
    match slot {
        Slot::Bad(reason) => Err(Refusal::new(*reason, name)),
        slot => Some(slot.to_text().into_owned())
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Refusal::new(RefusalReason::MissingField, name)),
    }
}

fn other_kind(name: &str) -> Decoded {
    filtered(FilterReason::OtherKind, name)
}

fn filtered(reason: FilterReason, name: &str) -> Decoded {
    Decoded::Filtered { reason, name: text::name_to_count(name.into()).into_owned() }
}
