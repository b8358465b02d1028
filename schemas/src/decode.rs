//! Bytes of one record to events: reads the document once, tells its dialect by its shape, and judges each event.
//!
//! At least one outcome is given for every record and exactly one for every event in it, in the order in which they
//! stand; an event that is refused does not touch its neighbours. Nothing a producer sends can panic here.

mod ceph;
mod cloudevents;
mod eventbridge;
mod minio;
mod notification;
mod plain;
mod sns;

use std::borrow::Cow;

use crate::event::{Decoded, Input};
use crate::judge::Context;
use crate::limits::Limits;
use crate::refusal::{FilterReason, Refusal, RefusalReason};
use crate::shape::{Envelope, Shape};
use crate::text;

pub(crate) use cloudevents::Attributes;
pub(crate) use sns::message;

/// Decodes one record. `emit` is called at least once; the index of an event in its record is the number of calls
/// before it.
pub fn decode<'a>(input: Input<'a>, limits: &Limits, emit: &mut dyn FnMut(Decoded<'a>)) {
    let context = Context { published_at_ms: input.published_at_ms, limits };
    let outcome =
        Envelope::open(input.payload, limits).and_then(|envelope| match Attributes::of_headers(input.headers) {
            Some(attributes) => cloudevents::decode(attributes?, Some(envelope), &context, emit),
            None => dispatch(envelope, 0, &context, emit),
        });
    if let Err(refusal) = outcome {
        emit(Decoded::Refused(refusal));
    }
}

/// Decodes a document by its shape. An error means that nothing was emitted yet.
fn dispatch<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    match envelope.shape() {
        Some(Shape::Notification) => notification::decode(envelope, context, emit),
        Some(Shape::Record) => {
            emit(notification::record(envelope.record, false, context));
            Ok(())
        }
        Some(Shape::TestEvent) => {
            emit(Decoded::Filtered { reason: FilterReason::TestEvent, name: Cow::Borrowed("s3:TestEvent") });
            Ok(())
        }
        Some(Shape::EventBridge) => eventbridge::decode(envelope, context, emit),
        Some(Shape::Sns) => sns::decode(envelope, wrapped, context, emit),
        Some(Shape::CloudEvent) => cloudevents::structured(envelope, context, emit),
        None => Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects")),
    }
}

fn filtered(reason: FilterReason, name: Cow<'_, str>) -> Decoded<'_> {
    Decoded::Filtered { reason, name: text::name_to_count(name) }
}
