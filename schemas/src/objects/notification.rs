//! Notifications of S3, any `eventVersion` up to 2.x, and of the stores that copy them; also one record by itself.
//!
//! Format: <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
//! Stores write anything into `eventSource`, so it only distinguishes those whose fields are read differently:
//! - The gateway of Ceph (<https://docs.ceph.com/en/latest/radosgw/notifications/#events>): `opaqueData` and `eventId`
//!   beside `s3`, metadata and tags as arrays of `{"key":..,"val":..}`, and the key as it is, not form-encoded.
//! - Scality: named in `eventSource`, with `eventVersion` 1.0 (0.1 before), the key as it is, sizes as text, and `null`
//!   for unknown values.
//! - MinIO and RustFS: `EventName` and `Key` beside `Records`, event names with the prefix `s3:`, and `contentType` and
//!   `userMetadata` in the object, so a creation also describes. MinIO leaves out a size of zero.

use std::borrow::Cow;

use super::decode::{Emit, filtered};
use super::event::{Decoded, Dialect, Effect, Entity};
use super::filter::FilterReason;
use super::judge::{self, Context, Reading};
use super::record::{Record, Vendor};
use super::{effect, message};
use crate::envelope::Envelope;
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::Slot;

/// The last major version that is known. AWS raises it when readers of the former one would misread the new one.
const MAJOR_VERSION_MAX: u32 = 2;

pub(super) fn decode<'a>(
    envelope: Envelope<'a>,
    wrapped: usize,
    context: &Context<'_>,
    emit: &mut Emit<'_, 'a>,
) -> Result<(), Refusal> {
    if let Some(reason) = envelope.records_bad {
        return Err(Refusal::new(reason, "Records"));
    }
    let records = envelope.records.unwrap_or_default();
    if wrapped > 0 {
        context.carry(records.len())?;
    }
    if records.is_empty() {
        emit(filtered(FilterReason::EmptyNotification, Cow::Borrowed("Records")), Entity::default());
    }
    let in_minio = envelope.minio_name.is_present();
    for each in records {
        if each.is_message() {
            // Lambda gets messages in `Records`, too. A wrong message does not affect its neighbours.
            if let Err(refusal) = message::decode(each, wrapped, context, emit) {
                emit(Decoded::Refused(refusal), Entity::default());
            }
            continue;
        }
        record(each, in_minio, context, emit);
    }
    Ok(())
}

/// Judges one record; `in_minio`: the document around it is MinIO's.
pub(super) fn record<'a>(record: Record<'a>, in_minio: bool, context: &Context<'_>, emit: &mut Emit<'_, 'a>) {
    let dialect = dialect(&record, in_minio).unwrap_or(Dialect::Aws);
    let entity = judge::entity(&record, dialect, context);
    emit(event(record, None, None, dialect, context).unwrap_or_else(Decoded::Refused), entity);
}

/// The store that a record itself names, whatever its envelope.
pub(crate) fn dialect(record: &Record<'_>, in_minio: bool) -> Option<Dialect> {
    if record.is_ceph || record.vendor == Vendor::Ceph {
        Some(Dialect::Ceph)
    } else if record.vendor == Vendor::Scality {
        Some(Dialect::Scality)
    } else if in_minio || record.is_minio || matches!(record.vendor, Vendor::Minio | Vendor::RustFs) {
        Some(Dialect::Minio)
    } else {
        None
    }
}

/// Judges one record; the name and the time of its envelope are used if it has none of its own.
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
    if major_version(&record).is_some_and(|major| major > MAJOR_VERSION_MAX) {
        let detail = format!("eventVersion is above {MAJOR_VERSION_MAX}.x");
        return Err(Refusal::new(RefusalReason::UnsupportedVersion, detail));
    }
    let name = match (std::mem::take(&mut record.name), outer_name) {
        (name, Some(outer)) if !name.is_present() => outer,
        (name, _) => name.required("eventName")?,
    };
    let time = std::mem::take(&mut record.time);
    let effect = match dialect {
        Dialect::Ceph => effect::of_ceph_name(&name, names_version(&record)),
        _ => effect::of_event_name(&name),
    };
    let effect = match effect {
        Ok(effect) => effect,
        Err(FilterReason::Tagging) if effect::is_tagging_of_minio(&name) => {
            let time = time.optional("eventTime").ok().flatten().filter(|time| !time.is_empty()).or(outer_time);
            let described = description(record, time, dialect, context);
            return Ok(described.unwrap_or_else(|| filtered(FilterReason::Tagging, name)));
        }
        Err(reason) => return Ok(filtered(reason, name)),
    };
    let time = time.optional("eventTime")?.filter(|time| !time.is_empty()).or(outer_time);
    judge::event(record, Reading { effect, time, dialect }, context).map(Decoded::Event)
}

/// The whole description of an object, from a change of its tags; `None` if it is not complete.
fn description<'a>(
    mut record: Record<'a>,
    time: Option<Cow<'a, str>>,
    dialect: Dialect,
    context: &Context<'_>,
) -> Option<Decoded<'a>> {
    // The sequencer is that of the object, which did not change. The change is ordered by the time of the event.
    record.object.sequencer = Slot::Absent;
    let reading = Reading { effect: Effect::Describe, time, dialect };
    let event = judge::event(record, reading, context).ok()?;
    let whole = event.description.as_ref().is_some_and(|description| {
        description.content_type.is_some() && description.metadata.is_some() && description.tags.is_some()
    });
    whole.then_some(Decoded::Event(event))
}

fn major_version(record: &Record<'_>) -> Option<u32> {
    record.version.as_text()?.split('.').next()?.parse().ok()
}

fn names_version(record: &Record<'_>) -> bool {
    record.object.version_id.as_text().is_some_and(|version| !version.is_empty() && version != "null")
}
