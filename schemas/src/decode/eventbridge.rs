//! EventBridge: the kind in `detail-type`, the object in `detail`, the key as it is.
//!
//! Format: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>.

use super::filtered;
use crate::effect;
use crate::event::{Decoded, Dialect};
use crate::judge::{self, Context, Reading};
use crate::refusal::{FilterReason, Refusal, RefusalReason};
use crate::shape::Envelope;

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    let detail_type = envelope.detail_type.required("detail-type")?;
    let known = detail_type.starts_with("Object ");
    let mut inner = envelope.inner.filter(|_| envelope.inner_bad.is_none());
    let deletion = match inner.as_mut() {
        Some(detail) => std::mem::take(&mut detail.deletion_type).optional("deletion-type"),
        None => Ok(None),
    };
    let effect = match effect::of_detail_type(&detail_type, if known { deletion? } else { None }.as_deref()) {
        Ok(effect) => effect,
        Err((FilterReason::UnsupportedKind, name)) if known => {
            let name = name.into_owned();
            emit(filtered(FilterReason::UnsupportedKind, name.into()));
            return Ok(());
        }
        Err((reason, _)) => {
            emit(filtered(reason, detail_type));
            return Ok(());
        }
    };
    let Some(detail) = inner else {
        let reason = envelope.inner_bad.unwrap_or(RefusalReason::MissingField);
        return Err(Refusal::new(reason, "detail"));
    };
    let time = envelope.time.optional("time")?;
    let reading = Reading { effect, time, key_is_encoded: false, dialect: Dialect::EventBridge };
    emit(Decoded::Event(judge::event(detail.record, reading, context)?));
    Ok(())
}
