//! EventBridge: the kind in `detail-type`, the object in `detail`, the key as it is.
//!
//! Format: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>.

use std::borrow::Cow;

use super::filtered;
use crate::effect;
use crate::event::{Decoded, Dialect};
use crate::judge::{self, Context, Reading};
use crate::refusal::{Refusal, RefusalReason};
use crate::shape::Envelope;

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    let detail_type = envelope.detail_type.required("detail-type")?;
    let mut detail = envelope.inner.filter(|_| envelope.inner_bad.is_none());
    let deletion_type = detail.as_mut().map(|detail| std::mem::take(&mut detail.deletion_type)).unwrap_or_default();
    let effect = match effect::of_detail_type(&detail_type, deletion_type.as_text()) {
        Ok(effect) => effect,
        Err((reason, name)) => {
            emit(filtered(reason, Cow::Owned(name.into_owned())));
            return Ok(());
        }
    };
    let Some(detail) = detail else {
        return Err(Refusal::new(envelope.inner_bad.unwrap_or(RefusalReason::MissingField), "detail"));
    };
    let time = envelope.time.optional("time")?;
    let reading = Reading { effect, time, key_is_encoded: false, dialect: Dialect::EventBridge };
    emit(Decoded::Event(judge::event(detail.record, reading, context)?));
    Ok(())
}
