//! Decodes one record into events: reads the document once, recognises its dialect by its shape, and judges each event.
//!
//! Every record has at least one outcome, and every event in it exactly one, in the order of the document. A refused
//! event does not affect its neighbours. Nothing that a producer sends can cause a panic here.

use std::borrow::Cow;
use std::cell::Cell;

use super::event::{Decoded, Entity};
use super::filter::FilterReason;
use super::judge::Context;
use super::{cloudevents, eventbridge, message, notification, sns};
use crate::envelope::cloudevents::Attributes;
use crate::envelope::{Envelope, Shape};
use crate::input::Input;
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};
use crate::text;

/// Takes each outcome with the object that it is about, if that was requested.
pub(super) type Emit<'e, 'a> = dyn FnMut(Decoded<'a>, Entity<'a>) + 'e;

/// Decodes one record. `emit` is called at least once; the index of an event in its record is the number of calls
/// before it.
pub fn decode<'a>(input: Input<'a>, limits: &Limits, emit: &mut dyn FnMut(Decoded<'a>)) {
    decode_into(input, limits, false, &mut |decoded, _| emit(decoded));
}

/// As [`decode`], with the object that each outcome is about, also if the outcome itself does not hold it: a filtered
/// or refused event may name one all the same.
pub fn decode_with_entities<'a>(input: Input<'a>, limits: &Limits, emit: &mut dyn FnMut(Decoded<'a>, Entity<'a>)) {
    decode_into(input, limits, true, emit);
}

fn decode_into<'a>(input: Input<'a>, limits: &Limits, names_entities: bool, emit: &mut Emit<'_, 'a>) {
    let carried_left = Cell::new(limits.events_per_record_max);
    let context = Context { published_at_ms: input.published_at_ms, limits, names_entities, carried_left };
    let outcome =
        Envelope::open(input.payload, limits).and_then(|envelope| match Attributes::of_headers(input.headers) {
            Some(attributes) => cloudevents::decode(attributes?, Some(envelope), 0, &context, emit),
            None => dispatch(envelope, 0, &context, emit),
        });
    if let Err(refusal) = outcome {
        emit(Decoded::Refused(refusal), Entity::default());
    }
}

/// Decodes a document by its shape; `wrapped` counts the envelopes around it. After an error nothing was emitted.
pub(super) fn dispatch<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    match envelope.shape() {
        Some(Shape::Notification) => notification::decode(envelope, wrapped, context, emit),
        Some(Shape::Record) => {
            notification::record(envelope.record, false, context, emit);
            Ok(())
        }
        Some(Shape::TestEvent) => {
            let name = Cow::Borrowed("s3:TestEvent");
            emit(Decoded::Filtered { reason: FilterReason::TestEvent, name }, Entity::default());
            Ok(())
        }
        Some(Shape::EventBridge) => eventbridge::decode(envelope, wrapped, context, emit),
        Some(Shape::Sns) => sns::decode(envelope, wrapped, context, emit),
        Some(Shape::CloudEvent) => cloudevents::structured(envelope, wrapped, context, emit),
        Some(Shape::Message) => message::decode(envelope.record, wrapped, context, emit),
        Some(Shape::PubSub) => message::pubsub(envelope.pubsub_data, wrapped, context, emit),
        Some(Shape::EcsTask | Shape::EcsTasks | Shape::Kubernetes | Shape::Watch) => {
            emit(
                filtered(FilterReason::OtherKind, Cow::Owned(envelope.scheduler_name().to_owned())),
                Entity::default(),
            );
            Ok(())
        }
        None => Err(Refusal::new(RefusalReason::UnknownShape, "none of the accepted dialects")),
    }
}

pub(super) fn filtered(reason: FilterReason, name: Cow<'_, str>) -> Decoded<'_> {
    Decoded::Filtered { reason, name: text::name_to_count(name) }
}
