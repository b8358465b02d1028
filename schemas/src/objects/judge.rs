//! The last step of every dialect: checks the fields of one event and makes the event.

use std::borrow::Cow;
use std::cell::Cell;

use super::event::{Dialect, Effect, Entity, ObjectEvent};
use super::order::Order;
use super::record::{Object, Record, Vendor};
use super::{describe, key};
use crate::limits::{Limits, within};
use crate::refusal::{Refusal, RefusalReason};

/// The context of the whole record.
#[derive(Debug)]
pub(crate) struct Context<'l> {
    pub(crate) published_at_ms: i64,
    pub(crate) limits: &'l Limits,
    /// Whether each outcome comes with the object that it is about.
    pub(crate) names_entities: bool,
    /// Records that all documents inside of others may still hold in total.
    pub(crate) carried_left: Cell<usize>,
}

impl Context<'_> {
    /// Counts the records of a document that another carries: reading limits only those of one document.
    pub(crate) fn carry(&self, records: usize) -> Result<(), Refusal> {
        let left = self.carried_left.get().checked_sub(records).ok_or_else(|| {
            let detail = format!("more than {} in all documents that it carries", self.limits.events_per_record_max);
            Refusal::new(RefusalReason::TooManyEvents, detail)
        })?;
        self.carried_left.set(left);
        Ok(())
    }
}

/// How a dialect reads the fields of its events.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    pub(crate) effect: Effect,
    pub(crate) time: Option<Cow<'a, str>>,
    pub(crate) dialect: Dialect,
}

/// The object of a record, if objects are requested; empty if it cannot be read.
pub(crate) fn entity<'a>(record: &Record<'a>, dialect: Dialect, context: &Context<'_>) -> Entity<'a> {
    if context.names_entities { read_entity(record, dialect) } else { Entity::default() }
}

/// The object of a record, empty where it cannot be read.
pub(crate) fn read_entity<'a>(record: &Record<'a>, dialect: Dialect) -> Entity<'a> {
    let key = record.object.key.to_text();
    let key = if dialect.encodes_keys() { key::decode_key(key).unwrap_or_default() } else { key };
    Entity { bucket: record.bucket.to_text(), key }
}

pub(crate) fn event<'a>(
    record: Record<'a>,
    reading: Reading<'a>,
    context: &Context<'_>,
) -> Result<ObjectEvent<'a>, Refusal> {
    let Reading { effect, time, dialect } = reading;
    let limits = context.limits;
    let leaves_zero_out = dialect == Dialect::Minio && record.vendor != Vendor::RustFs;
    let Object { key, size, etag, version_id, sequencer, content_type, metadata, tags } = record.object;
    let bucket = record.bucket.required("bucket name")?;
    within(&bucket, limits.bucket_bytes_max, RefusalReason::BucketTooLong)?;
    let key = key.required("object key")?;
    let key = if dialect.encodes_keys() { key::decode_key(key)? } else { key };
    within(&key, limits.key_bytes_max, RefusalReason::KeyTooLong)?;
    let version_id = match effect {
        Effect::RemoveKey => Cow::Borrowed(""),
        _ => version_id.optional("versionId")?.filter(|version| version != "null").unwrap_or_default(),
    };
    within(&version_id, limits.version_id_bytes_max, RefusalReason::VersionIdTooLong)?;
    let time = time.filter(|time| !time.is_empty());
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
    // A deletion has no facts and no description, whatever its emitter fills in.
    match effect {
        Effect::Create => {
            event.size = if leaves_zero_out { size.or_zero() } else { size }.optional()?;
            event.etag = unquote(etag.optional("etag")?.unwrap_or_default());
            within(&event.etag, limits.etag_bytes_max, RefusalReason::EtagTooLong)?;
            let description = describe::describe(content_type, metadata, tags, dialect, limits)?;
            event.description = Some(description).filter(|description| !description.is_empty());
        }
        Effect::Describe => {
            let description = describe::describe_strictly(content_type, metadata, tags, dialect, limits)?;
            if description.is_empty() {
                return Err(Refusal::new(RefusalReason::MissingField, "one of contentType, metadata, tags"));
            }
            event.description = Some(description);
        }
        Effect::Marker | Effect::Delete | Effect::RemoveKey => {}
    }
    Ok(event)
}

/// HTTP writes entity tags in quotes, and some stores pass these on.
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
