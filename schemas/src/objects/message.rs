//! Messages that only carry a document: of SQS as Lambda, EventBridge Pipes and SQS itself hand them on (`body`), of
//! SNS as Lambda gets them (`Sns.Message`), and of Pub/Sub as it pushes them (`message.data`, in base64).
//!
//! The carried document has its own rules, whatever carries it. Formats:
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-pipes-sqs.html>,
//! <https://cloud.google.com/pubsub/docs/push#receive_push>.

use super::decode::{Emit, dispatch};
use super::judge::Context;
use super::record::Record;
use crate::envelope::Envelope;
use crate::envelope::carried::{ENVELOPES_MAX, from_base64};
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::Slot;

/// Decodes what a message of SQS or of Lambda carries.
pub(super) fn decode<'a>(
    message: Record<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    let text = message.carried.required("body")?;
    open(text.as_bytes(), "body", wrapped, context, emit)
}

/// Decodes what a message of Pub/Sub carries.
pub(super) fn pubsub<'a>(
    data: Slot<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    let encoded = data.required("message.data")?;
    open(&from_base64(&encoded, "message.data")?, "message.data", wrapped, context, emit)
}

/// Decodes the document that stands in `field` of an envelope; `wrapped` counts the envelopes around that one.
pub(super) fn open(
    document: &[u8],
    field: &str,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, '_>,
) -> Result<(), Refusal> {
    if wrapped >= ENVELOPES_MAX {
        let detail = format!("more than {ENVELOPES_MAX} envelopes around each other");
        return Err(Refusal::new(RefusalReason::TooManyEnvelopes, detail));
    }
    Envelope::open(document, context.limits)
        .and_then(|inner| {
            dispatch(inner, wrapped + 1, context, &mut |decoded, entity| {
                emit(decoded.into_owned(), entity.into_owned());
            })
        })
        .map_err(|refusal| refusal.within(field))
}
