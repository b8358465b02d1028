//! The object that decides the partition of a record: that of its first event, read as decoding will read it.

use crate::envelope::carried::{ENVELOPES_MAX, from_base64};
use crate::envelope::cloudevents::Attributes;
use crate::envelope::{Envelope, Shape};
use crate::limits::Limits;
use crate::objects::event::{Dialect, Entity};
use crate::objects::judge::read_entity;
use crate::objects::record::Record;
use crate::objects::{effect, eventbridge, notification};

/// The object of a document of this shape; `wrapped` counts the envelopes around it.
pub(super) fn of_document<'a>(envelope: &Envelope<'a>, shape: Shape, wrapped: usize, limits: &Limits) -> Entity<'a> {
    match shape {
        Shape::Notification => of_first(envelope, wrapped, limits),
        Shape::Record | Shape::Message => of_record(&envelope.record, wrapped, limits),
        Shape::EventBridge => match envelope.inner.as_deref() {
            Some(detail) if detail.records.is_some() => of_first(detail, wrapped, limits),
            _ => eventbridge::entity(envelope),
        },
        Shape::CloudEvent => of_cloud_event(envelope, wrapped, limits),
        Shape::TestEvent => Entity::default(),
        Shape::Sns => envelope
            .sns_message
            .as_text()
            .map_or_else(Entity::default, |text| carried(text.as_bytes(), wrapped, limits)),
        Shape::PubSub => of_base64(envelope.pubsub_data.as_text(), wrapped, limits),
    }
}

/// The object in the data of CloudEvents whose attributes stand in headers.
pub(super) fn of_binary<'a>(data: &Envelope<'a>, attributes: &Attributes<'_>, limits: &Limits) -> Entity<'a> {
    of_data(data, &attributes.event_type, 0, limits)
}

fn of_cloud_event<'a>(envelope: &Envelope<'a>, wrapped: usize, limits: &Limits) -> Entity<'a> {
    let event_type = envelope.event_type.as_text().unwrap_or_default();
    if let Some(data) = &envelope.inner {
        return of_data(data, event_type, wrapped, limits);
    }
    let bytes = envelope.data_base64.as_text().and_then(|encoded| from_base64(encoded, "data_base64").ok());
    let Some(bytes) = bytes else { return Entity::default() };
    let data = Envelope::open(&bytes, limits);
    data.map(|data| of_data(&data, event_type, wrapped, limits).into_owned()).unwrap_or_default()
}

fn of_data<'a>(data: &Envelope<'a>, event_type: &str, wrapped: usize, limits: &Limits) -> Entity<'a> {
    if effect::of_plain_type(event_type).is_some() {
        return read_entity(&data.record, Dialect::Plain);
    }
    match data.shape() {
        Some(Shape::PubSub) => of_base64(data.pubsub_data.as_text(), wrapped, limits),
        _ if data.records.is_some() => of_first(data, wrapped, limits),
        _ => of_record(&data.record, wrapped, limits),
    }
}

fn of_first<'a>(envelope: &Envelope<'a>, wrapped: usize, limits: &Limits) -> Entity<'a> {
    let first = envelope.records.iter().flatten().next();
    first.map(|record| of_record(record, wrapped, limits)).unwrap_or_default()
}

/// The object of a record, or of what it carries.
pub(super) fn of_record<'a>(record: &Record<'a>, wrapped: usize, limits: &Limits) -> Entity<'a> {
    match record.carried.as_text() {
        Some(text) if record.is_message() => carried(text.as_bytes(), wrapped, limits),
        // The remaining dialects encode keys alike.
        _ => read_entity(record, notification::dialect(record, false).unwrap_or(Dialect::Aws)),
    }
}

fn of_base64<'a>(encoded: Option<&str>, wrapped: usize, limits: &Limits) -> Entity<'a> {
    let bytes = encoded.and_then(|encoded| from_base64(encoded, "message.data").ok());
    bytes.map(|bytes| carried(&bytes, wrapped, limits)).unwrap_or_default()
}

/// The object of a document that another carries; none if decoding refuses it for too many envelopes.
fn carried<'a>(document: &[u8], wrapped: usize, limits: &Limits) -> Entity<'a> {
    if wrapped >= ENVELOPES_MAX {
        return Entity::default();
    }
    let Ok(inner) = Envelope::open(document, limits) else { return Entity::default() };
    inner.shape().map(|shape| of_document(&inner, shape, wrapped + 1, limits).into_owned()).unwrap_or_default()
}
