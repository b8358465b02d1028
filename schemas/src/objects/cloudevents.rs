//! CloudEvents 1.0, structured (attributes beside `data`) and binary (attributes in headers, the payload is the data).
//!
//! Types `com.amazonaws.s3.<eventName>` carry a notification of S3: `Records`, one record, or its `s3` member alone;
//! Ceph writes these types without `s3.`. The dialect of the record inside decides how it is read, and a notification
//! that names its events itself is read whatever the type. Types `millstream.object.*` are our own, see `plain`. Other
//! types are filtered by name.
//! Formats: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/adapters/aws-s3.md>,
//! <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>.

use std::borrow::Cow;

use super::decode::{Emit, dispatch, filtered};
use super::event::{Decoded, Dialect, Entity};
use super::filter::FilterReason;
use super::judge::{self, Context};
use super::record::Vendor;
use super::{effect, notification, plain};
use crate::envelope::cloudevents::{Attributes, PUBSUB_TYPE};
use crate::envelope::domain::{self, Domain};
use crate::envelope::{Envelope, Shape, carried};
use crate::refusal::{Refusal, RefusalReason};

pub(super) fn structured<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    let attributes = Attributes {
        specversion: envelope.specversion.required("specversion")?,
        event_type: envelope.event_type.required("type")?,
        time: envelope.time.optional("time")?,
        vendor: envelope.record.vendor,
    };
    let Some(encoded) = envelope.data_base64.optional("data_base64")? else {
        return match envelope.inner_bad {
            Some(reason) if is_known(&attributes.event_type) => Err(Refusal::new(reason, "data")),
            Some(_) => decode(attributes, None, wrapped, context, emit),
            None => decode(attributes, envelope.inner.map(|inner| *inner), wrapped, context, emit),
        };
    };
    let bytes = carried::from_base64(&encoded, "data_base64")?;
    let data = Envelope::open(&bytes, context.limits).map_err(|refusal| refusal.within("data_base64"))?;
    decode(attributes, Some(data), wrapped, context, &mut |decoded, entity| {
        emit(decoded.into_owned(), entity.into_owned());
    })
}

/// Decodes the data of an event by its attributes.
pub(super) fn decode<'a>(
    attributes: Attributes<'a>,
    data: Option<Envelope<'a>>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    // Every version 1.x must be read like 1.0.
    if attributes.specversion.split('.').next() != Some("1") {
        return Err(Refusal::new(RefusalReason::UnsupportedVersion, "specversion is not 1.0"));
    }
    if !is_known(&attributes.event_type) && !data.as_ref().is_some_and(names_events) {
        let reason = match domain::of_event_type(&attributes.event_type) {
            Domain::Tasks => FilterReason::OtherKind,
            Domain::Objects => FilterReason::UnsupportedKind,
        };
        emit(filtered(reason, attributes.event_type), Entity::default());
        return Ok(());
    }
    let Some(data) = data else {
        return Err(Refusal::new(RefusalReason::MissingField, "data"));
    };
    if attributes.event_type == PUBSUB_TYPE {
        return dispatch(data, wrapped, context, emit);
    }
    if let Some(effect) = effect::of_plain_type(&attributes.event_type) {
        let entity = judge::entity(&data.record, Dialect::Plain, context);
        let event = plain::event(effect, attributes.time, data.record, context);
        emit(event.unwrap_or_else(Decoded::Refused), entity);
        return Ok(());
    }
    s3(attributes, data, context, emit)
}

fn s3<'a>(
    attributes: Attributes<'a>,
    data: Envelope<'a>,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    if let Some(reason) = data.records_bad {
        return Err(Refusal::new(reason, "Records"));
    }
    let name = match attributes.event_type {
        Cow::Borrowed(name) => name_of_type(name).map(Cow::Borrowed),
        Cow::Owned(name) => name_of_type(&name).map(|name| Cow::Owned(name.to_owned())),
    };
    let in_minio = data.minio_name.is_present();
    let records = data.records.unwrap_or_else(|| vec![data.record]);
    if records.is_empty() {
        emit(filtered(FilterReason::EmptyNotification, Cow::Borrowed("Records")), Entity::default());
    }
    for mut record in records {
        if record.vendor == Vendor::Unknown {
            record.vendor = attributes.vendor;
        }
        let dialect = notification::dialect(&record, in_minio).unwrap_or(Dialect::CloudEvents);
        let entity = judge::entity(&record, dialect, context);
        let event = notification::event(record, name.clone(), attributes.time.clone(), dialect, context);
        emit(event.unwrap_or_else(Decoded::Refused), entity);
    }
    Ok(())
}

/// The event name in a type of CloudEvents around the data of S3: AWS has `com.amazonaws.s3.ObjectCreated:Put`, Ceph
/// the same without `s3.`; there only names of S3 events are accepted, not those of other services.
fn name_of_type(event_type: &str) -> Option<&str> {
    let name = event_type.strip_prefix("com.amazonaws.")?;
    match name.strip_prefix("s3.") {
        Some(name) => Some(name),
        None => {
            (effect::of_event_name(name) != Err(FilterReason::UnsupportedKind) || name.contains(':')).then_some(name)
        }
    }
}

/// True for data that are a notification of S3 by themselves: vendors and bridges give such events any type.
pub(crate) fn names_events(data: &Envelope<'_>) -> bool {
    match data.shape() {
        Some(Shape::Record) => true,
        Some(Shape::Notification) => {
            let mut records = data.records.iter().flatten().peekable();
            records.peek().is_some() && records.all(|record| record.has_s3 && record.name.is_present())
        }
        _ => false,
    }
}

/// True for types that carry events about objects, or a message that may.
pub(crate) fn is_known(event_type: &str) -> bool {
    event_type == PUBSUB_TYPE || name_of_type(event_type).is_some() || effect::of_plain_type(event_type).is_some()
}
