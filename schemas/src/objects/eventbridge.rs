//! EventBridge: the kind in `detail-type`, the object in `detail`, the key not encoded. A `detail` with `Records` is a
//! notification of another store that was sent through a bus, and is read as one.
//!
//! Format: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>.

use std::borrow::Cow;

use super::decode::{Emit, filtered};
use super::event::{Decoded, Dialect, Entity};
use super::filter::FilterReason;
use super::judge::{self, Context, Reading};
use super::{effect, notification};
use crate::envelope::Envelope;
use crate::envelope::domain::{self, Domain};
use crate::refusal::{Refusal, RefusalReason};

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    let detail_type = envelope.detail_type.required("detail-type")?;
    let mut detail = envelope.inner.filter(|_| envelope.inner_bad.is_none());
    if let Some(detail) = detail.take_if(|detail| detail.records.is_some()) {
        return notification::decode(*detail, wrapped, context, emit);
    }
    if domain::of_detail_type(&detail_type) == Domain::Tasks {
        emit(filtered(FilterReason::OtherKind, detail_type), Entity::default());
        return Ok(());
    }
    let deletion_type = detail.as_mut().map(|detail| std::mem::take(&mut detail.deletion_type)).unwrap_or_default();
    let effect = match effect::of_detail_type(&detail_type, deletion_type.as_text()) {
        Ok(effect) => effect,
        Err((reason, name)) => {
            let entity = detail.map(|detail| judge::entity(&detail.record, Dialect::EventBridge, context));
            emit(filtered(reason, Cow::Owned(name.into_owned())), entity.unwrap_or_default());
            return Ok(());
        }
    };
    let Some(detail) = detail else {
        return Err(Refusal::new(envelope.inner_bad.unwrap_or(RefusalReason::MissingField), "detail"));
    };
    let time = envelope.time.optional("time");
    let entity = judge::entity(&detail.record, Dialect::EventBridge, context);
    let read = |time| judge::event(detail.record, Reading { effect, time, dialect: Dialect::EventBridge }, context);
    emit(time.and_then(read).map_or_else(Decoded::Refused, Decoded::Event), entity);
    Ok(())
}

/// The object of such an event.
pub(crate) fn entity<'a>(envelope: &Envelope<'a>) -> Entity<'a> {
    let detail = envelope.inner.as_ref();
    detail.map(|detail| judge::read_entity(&detail.record, Dialect::EventBridge)).unwrap_or_default()
}
