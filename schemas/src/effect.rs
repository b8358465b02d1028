//! The closed table from the name of an event to what it does to an object; `fixtures/effect_vectors.json` tests it.
//!
//! Nothing is guessed: a name outside the table is filtered as `unsupported_kind` and counted by name.

use std::borrow::Cow;

use crate::event::Effect;
use crate::refusal::FilterReason;

/// What an S3 event name means; the prefix `s3:` that MinIO and Ceph write is ignored.
///
/// # Errors
/// The reason for which an event of this name is filtered.
pub fn of_event_name(name: &str) -> Result<Effect, FilterReason> {
    let name = name.strip_prefix("s3:").unwrap_or(name);
    match name {
        "ObjectRemoved:Delete" | "LifecycleExpiration:Delete" => Ok(Effect::Delete),
        "ObjectRemoved:DeleteMarkerCreated" | "LifecycleExpiration:DeleteMarkerCreated" => Ok(Effect::Marker),
        // MinIO: a lifecycle rule removes the key with all its versions, whatever version the event names.
        "ObjectRemoved:DeleteAllVersions" | "LifecycleDelMarkerExpiration:Delete" => Ok(Effect::RemoveKey),
        "TestEvent" => Err(FilterReason::TestEvent),
        "LifecycleTransition" => Err(FilterReason::LifecycleTransition),
        "IntelligentTiering" => Err(FilterReason::IntelligentTiering),
        "ReducedRedundancyLostObject" => Err(FilterReason::LostObject),
        _ => match name.split_once(':') {
            Some(("ObjectCreated", how)) if !how.is_empty() => Ok(Effect::Create),
            // Its `Delete` ends the restored copy; the object stays in the archive.
            Some(("ObjectRestore", _)) => Err(FilterReason::Restore),
            Some(("ObjectTagging", _)) => Err(FilterReason::Tagging),
            Some(("ObjectAcl", _)) => Err(FilterReason::Acl),
            Some(("Replication", _)) => Err(FilterReason::Replication),
            _ => Err(FilterReason::UnsupportedKind),
        },
    }
}

/// What a `detail-type` of EventBridge means, for deletions together with its `deletion-type`.
///
/// # Errors
/// The reason for which such an event is filtered, and the name to count it by.
pub fn of_detail_type<'a>(
    detail_type: &'a str,
    deletion_type: Option<&str>,
) -> Result<Effect, (FilterReason, Cow<'a, str>)> {
    let reason = match (detail_type, deletion_type) {
        ("Object Created", _) => return Ok(Effect::Create),
        ("Object Deleted", Some("Permanently Deleted")) => return Ok(Effect::Delete),
        ("Object Deleted", Some("Delete Marker Created")) => return Ok(Effect::Marker),
        ("Object Deleted", other) => {
            let name = format!("Object Deleted ({})", other.unwrap_or("no deletion-type"));
            return Err((FilterReason::UnsupportedKind, Cow::Owned(name)));
        }
        ("Object Restore Initiated" | "Object Restore Completed" | "Object Restore Expired", _) => {
            FilterReason::Restore
        }
        ("Object Tags Added" | "Object Tags Deleted", _) => FilterReason::Tagging,
        ("Object ACL Updated", _) => FilterReason::Acl,
        ("Object Storage Class Changed", _) => FilterReason::LifecycleTransition,
        ("Object Access Tier Changed", _) => FilterReason::IntelligentTiering,
        _ => FilterReason::UnsupportedKind,
    };
    Err((reason, Cow::Borrowed(detail_type)))
}

/// The types of CloudEvents that are our own, see the README.
pub(crate) fn of_plain_type(name: &str) -> Option<Effect> {
    match name.strip_prefix("millstream.object.")? {
        "created" => Some(Effect::Create),
        "deleted" => Some(Effect::Delete),
        "described" => Some(Effect::Describe),
        _ => None,
    }
}
