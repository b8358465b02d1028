//! SNS: the notification as a string in `Message`, itself perhaps another envelope.
//!
//! Format: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html>.

use super::decode::{Emit, filtered};
use super::event::Entity;
use super::filter::FilterReason;
use super::judge::Context;
use super::message;
use crate::envelope::Envelope;
use crate::refusal::Refusal;

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    let kind = envelope.sns_type.required("Type")?;
    if kind != "Notification" {
        emit(filtered(FilterReason::SubscriptionConfirmation, kind), Entity::default());
        return Ok(());
    }
    let text = envelope.sns_message.required("Message")?;
    message::open(text.as_bytes(), "Message", wrapped, context, emit)
}
