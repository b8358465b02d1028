//! Notifications of S3, any `eventVersion` 2.x, and of the stores that copy them; also one record by itself.
//!
//! Format: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
//! `eventSource` is not looked at, since every store writes its own.

use std::borrow::Cow;

use super::{ceph, filtered, minio};
use crate::effect;
use crate::event::{Decoded, Dialect};
use crate::judge::{self, Context, Reading};
use crate::refusal::{FilterReason, Refusal, RefusalReason};
use crate::shape::{Envelope, Record};

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    if let Some(reason) = envelope.records_bad {
        return Err(Refusal::new(reason, "Records"));
    }
    let records = envelope.records.unwrap_or_default();
    if records.is_empty() {
        emit(filtered(FilterReason::EmptyNotification, Cow::Borrowed("Records")));
    }
    let in_minio = envelope.minio_name.is_present();
    for each in records {
        emit(record(each, in_minio, context));
    }
    Ok(())
}

/// Judges one record; `in_minio` says that the document around it is MinIO's.
pub(super) fn record<'a>(record: Record<'a>, in_minio: bool, context: &Context<'_>) -> Decoded<'a> {
    let dialect = if ceph::is_marked(&record) {
        Dialect::Ceph
    } else if in_minio || minio::is_marked(&record) {
        Dialect::Minio
    } else {
        Dialect::Aws
    };
    event(record, None, None, dialect, context).unwrap_or_else(Decoded::Refused)
}

/// Judges one record; the name and the time that stand around it serve when it has none of its own.
pub(super) fn event<'a>(
    mut record: Record<'a>,
    outer_name: Option<Cow<'a, str>>,
    outer_time: Option<Cow<'a, str>>,
    dialect: Dialect,
    context: &Context<'_>,
) -> Result<Decoded<'a>, Refusal> {
    if record.is_not_object {
        return Err(Refusal::new(RefusalReason::WrongType, "a record is not an object"));
    }
    let version = std::mem::take(&mut record.version).optional("eventVersion")?;
    if version.as_ref().is_some_and(|version| version.split('.').next() != Some("2")) {
        let detail = "eventVersion is not 2.x";
        return Err(Refusal::new(RefusalReason::UnsupportedVersion, detail));
    }
    let name = match (std::mem::take(&mut record.name), outer_name) {
        (name, Some(outer)) if !name.is_present() => outer,
        (name, _) => name.required("eventName")?,
    };
    let effect = match effect::of_event_name(&name) {
        Ok(effect) => effect,
        Err(reason) => return Ok(filtered(reason, name)),
    };
    let time = std::mem::take(&mut record.time).optional("eventTime")?.filter(|time| !time.is_empty()).or(outer_time);
    let key_is_encoded = dialect != Dialect::Ceph;
    judge::event(record, Reading { effect, time, key_is_encoded, dialect }, context).map(Decoded::Event)
}
