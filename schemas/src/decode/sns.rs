//! SNS: the notification as a string in `Message`, itself perhaps another envelope of SNS, at most two in all.
//!
//! Format: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>.

use super::{dispatch, filtered};
use crate::event::Decoded;
use crate::judge::Context;
use crate::refusal::{FilterReason, Refusal, RefusalReason};
use crate::shape::Envelope;

/// Envelopes around one notification: a topic that feeds a topic is seen, more is a loop.
const ENVELOPES_MAX: usize = 2;

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    let kind = envelope.sns_type.required("Type")?;
    if kind != "Notification" {
        emit(filtered(FilterReason::SubscriptionConfirmation, kind));
        return Ok(());
    }
    if wrapped >= ENVELOPES_MAX {
        return Err(Refusal::new(RefusalReason::TooManyEnvelopes, "more than two envelopes of SNS"));
    }
    let message = envelope.sns_message.required("Message")?;
    let inner = Envelope::open(message.as_bytes(), context.limits).map_err(|refusal| refusal.within("Message"))?;
    dispatch(inner, wrapped + 1, context, &mut |decoded| emit(decoded.into_owned()))
}

/// The message of an envelope, without judging it.
pub(crate) fn message<'e>(envelope: &'e Envelope<'_>) -> Option<&'e str> {
    envelope.sns_message.as_text()
}
