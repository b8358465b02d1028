//! What a record is about: the object or the task of its first event, read as decoding will read it.

use crate::envelope::carried::{ENVELOPES_MAX, from_base64};
use crate::envelope::cloudevents::Attributes;
use crate::envelope::domain::{self, Domain};
use crate::envelope::{Envelope, Shape};
use crate::limits::Limits;
use crate::objects::event::{Dialect, ENTITY_KEY_BYTES_MAX, Entity};
use crate::objects::judge::read_entity;
use crate::objects::record::Record;
use crate::objects::{effect, eventbridge, notification};
use crate::tasks::{entity, list};

/// What the first event of a record is about: it decides the domain and the partition of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// An object; unknown where it cannot be read, and of records that no domain knows.
    Object(Entity<'a>),
    /// A task, or another entity of its domain; empty where it cannot be read.
    Task(String),
}

impl Subject<'_> {
    /// The domain whose decoder reads the record.
    pub fn domain(&self) -> Domain {
        match self {
            Self::Object(_) => Domain::Objects,
            Self::Task(_) => Domain::Tasks,
        }
    }

    /// Appends the key that decides the partition, of at most 2,048 bytes; nothing where the subject is unknown. Every
    /// maker of records must use this, so that events of one object or task stay in order.
    pub fn append_key(&self, to: &mut Vec<u8>) {
        match self {
            Self::Object(object) => object.append_key(to),
            Self::Task(id) => to.extend_from_slice(id.as_bytes().get(..ENTITY_KEY_BYTES_MAX).unwrap_or(id.as_bytes())),
        }
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Subject<'static> {
        match self {
            Self::Object(object) => Subject::Object(object.into_owned()),
            Self::Task(id) => Subject::Task(id),
        }
    }
}

impl Default for Subject<'_> {
    fn default() -> Self {
        Self::Object(Entity::default())
    }
}

/// The subject of a document of this shape; `wrapped` counts the envelopes around it.
pub(super) fn of_document<'a>(envelope: &Envelope<'a>, shape: Shape, wrapped: usize, limits: &Limits) -> Subject<'a> {
    match shape {
        Shape::Notification => of_first(envelope, wrapped, limits),
        Shape::Record | Shape::Message => of_record(&envelope.record, wrapped, limits),
        Shape::EventBridge => match (envelope.inner.as_deref(), envelope.detail_type.as_text()) {
            (Some(detail), _) if detail.records.is_some() => of_first(detail, wrapped, limits),
            (detail, Some(name)) if domain::of_detail_type(name) == Domain::Tasks => {
                Subject::Task(detail.map(|detail| entity::of_ecs(Some(name), detail.record.text)).unwrap_or_default())
            }
            _ => Subject::Object(eventbridge::entity(envelope)),
        },
        Shape::CloudEvent => of_cloud_event(envelope, wrapped, limits),
        Shape::TestEvent => Subject::default(),
        Shape::Sns => envelope
            .sns_message
            .as_text()
            .map_or_else(Subject::default, |text| carried(text.as_bytes(), wrapped, limits)),
        Shape::PubSub => of_base64(envelope.pubsub_data.as_text(), wrapped, limits),
        Shape::EcsTask => Subject::Task(entity::of_ecs(None, envelope.record.text)),
        Shape::EcsTasks => Subject::Task(entity::of_list(envelope.record.text)),
        Shape::Kubernetes if list::is_list(envelope.kind.as_text().unwrap_or_default()) => {
            Subject::Task(entity::of_list(envelope.record.text))
        }
        Shape::Kubernetes => Subject::Task(entity::of_object(envelope.record.text, "")),
        Shape::Watch => Subject::Task(entity::of_frame(envelope.record.text)),
    }
}

/// The subject of the data of CloudEvents whose attributes stand in headers.
pub(super) fn of_binary<'a>(data: &Envelope<'a>, attributes: &Attributes<'_>, limits: &Limits) -> Subject<'a> {
    of_data(data, &attributes.event_type, 0, limits)
}

fn of_cloud_event<'a>(envelope: &Envelope<'a>, wrapped: usize, limits: &Limits) -> Subject<'a> {
    let event_type = envelope.event_type.as_text().unwrap_or_default();
    if let Some(data) = &envelope.inner {
        return of_data(data, event_type, wrapped, limits);
    }
    let bytes = envelope.data_base64.as_text().and_then(|encoded| from_base64(encoded, "data_base64").ok());
    let data = bytes.as_ref().and_then(|bytes| Envelope::open(bytes, limits).ok()).unwrap_or_default();
    of_data(&data, event_type, wrapped, limits).into_owned()
}

fn of_data<'a>(data: &Envelope<'a>, event_type: &str, wrapped: usize, limits: &Limits) -> Subject<'a> {
    if let Some(id) = entity::of_plain(event_type, data.record.text) {
        return Subject::Task(id);
    }
    if effect::of_plain_type(event_type).is_some() {
        return Subject::Object(read_entity(&data.record, Dialect::Plain));
    }
    match data.shape() {
        Some(Shape::PubSub) => of_base64(data.pubsub_data.as_text(), wrapped, limits),
        _ if data.records.is_some() => of_first(data, wrapped, limits),
        _ => of_record(&data.record, wrapped, limits),
    }
}

fn of_first<'a>(envelope: &Envelope<'a>, wrapped: usize, limits: &Limits) -> Subject<'a> {
    let first = envelope.records.iter().flatten().next();
    first.map(|record| of_record(record, wrapped, limits)).unwrap_or_default()
}

/// The subject of a record, or of what it carries.
pub(super) fn of_record<'a>(record: &Record<'a>, wrapped: usize, limits: &Limits) -> Subject<'a> {
    match record.carried.as_text() {
        Some(text) if record.is_message() => carried(text.as_bytes(), wrapped, limits),
        // The remaining dialects encode keys alike.
        _ => {
            let dialect = notification::dialect(record, false).unwrap_or(Dialect::Aws);
            Subject::Object(read_entity(record, dialect))
        }
    }
}

fn of_base64<'a>(encoded: Option<&str>, wrapped: usize, limits: &Limits) -> Subject<'a> {
    let bytes = encoded.and_then(|encoded| from_base64(encoded, "message.data").ok());
    bytes.map(|bytes| carried(&bytes, wrapped, limits)).unwrap_or_default()
}

/// The subject of a document that another carries; none if decoding refuses it for too many envelopes.
fn carried<'a>(document: &[u8], wrapped: usize, limits: &Limits) -> Subject<'a> {
    if wrapped >= ENVELOPES_MAX {
        return Subject::default();
    }
    let Ok(inner) = Envelope::open(document, limits) else { return Subject::default() };
    inner.shape().map(|shape| of_document(&inner, shape, wrapped + 1, limits).into_owned()).unwrap_or_default()
}
