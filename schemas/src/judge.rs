//! The last step of every dialect: holds the fields of one event to the rules and makes the event.

use std::borrow::Cow;

use crate::describe;
use crate::event::{Dialect, Effect, ObjectEvent};
use crate::limits::Limits;
use crate::order::Order;
use crate::refusal::{Refusal, RefusalReason};
use crate::shape::{Object, Record};
use crate::text;

/// What holds for the whole record.
#[derive(Debug)]
pub(crate) struct Context<'l> {
    pub(crate) published_at_ms: i64,
    pub(crate) limits: &'l Limits,
}

/// How a dialect reads the fields of its events.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) effect: Effect,
    pub(crate) time: Option<Cow<'a, str>>,
    pub(crate) key_is_encoded: bool,
    pub(crate) dialect: Dialect,
}

pub(crate) fn event<'a>(
    record: Record<'a>,
    reading: Reading<'a>,
    context: &Context<'_>,
) -> Result<ObjectEvent<'a>, Refusal> {
    let Reading { effect, time, key_is_encoded, dialect } = reading;
    let limits = context.limits;
    let Object { key, size, etag, version_id, sequencer, content_type, metadata, tags } = record.object;
    let bucket = record.bucket.required("bucket name")?;
    within(&bucket, limits.bucket_bytes_max, RefusalReason::BucketTooLong)?;
    let key = key.required("object key")?;
    let key = if key_is_encoded { text::decode_key(key)? } else { key };
    within(&key, limits.key_bytes_max, RefusalReason::KeyTooLong)?;
    let version_id = match effect {
        Effect::RemoveKey => Cow::Borrowed(""),
        _ => version_id.optional("versionId")?.filter(|version| version != "null").unwrap_or_default(),
    };
    within(&version_id, limits.version_id_bytes_max, RefusalReason::VersionIdTooLong)?;
    let order = Order::place(time.as_deref(), sequencer.optional("sequencer")?.as_deref(), context.published_at_ms)?;

    let mut event = ObjectEvent {
        bucket,
        key,
        version_id,
        effect,
        order,
        size: None,
        etag: Cow::Borrowed(""),
        description: None,
        dialect,
    };
    // A deletion has no facts and describes nothing, whatever its emitter fills in.
    if effect == Effect::Create {
        event.size = size.optional()?;
        event.etag = unquote(etag.optional("etag")?.unwrap_or_default());
        within(&event.etag, limits.etag_bytes_max, RefusalReason::EtagTooLong)?;
    }
    if matches!(effect, Effect::Create | Effect::Describe) {
        let description = describe::describe(content_type, metadata, tags, dialect, limits)?;
        event.description = Some(description).filter(|description| !description.is_empty());
    }
    if effect == Effect::Describe && event.description.is_none() {
        return Err(Refusal::new(RefusalReason::MissingField, "one of contentType, metadata, tags"));
    }
    Ok(event)
}

/// Refuses text beyond its limit.
pub(crate) fn within(text: &str, bytes_max: usize, reason: RefusalReason) -> Result<(), Refusal> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    Err(Refusal::new(reason, format!("{} bytes, the limit is {bytes_max}", text.len())))
}

/// HTTP writes entity tags in quotes, and some stores hand them on.
fn unquote(etag: Cow<'_, str>) -> Cow<'_, str> {
    let inner = |text: &str| text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).map(str::len);
    match inner(&etag) {
        None => etag,
        Some(length) => match etag {
            Cow::Borrowed(text) => Cow::Borrowed(text.get(1..=length).unwrap_or_default()),
            Cow::Owned(text) => Cow::Owned(text.get(1..=length).unwrap_or_default().to_owned()),
        },
    }
}
