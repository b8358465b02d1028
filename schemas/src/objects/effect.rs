//! The closed table from the name of an event to its effect on an object; `fixtures/effect_vectors.json` tests it.
//!
//! It is closed on both sides of the colon: a name is listed here whole, or it is filtered as `unsupported_kind` and
//! counted by name. A prefix never covers the names after it, because stores send other things under the same prefix:
//! MinIO sends a change of tags as `ObjectCreated:PutTagging`.

use std::borrow::Cow;

use super::event::Effect;
use super::filter::FilterReason;

/// The effect of an S3 event name; the prefix `s3:` that MinIO, RustFS, Scality and older Ceph write is ignored.
///
/// # Errors
/// The reason for which an event of this name is filtered.
pub fn of_event_name(name: &str) -> Result<Effect, FilterReason> {
    match without_prefix(name) {
        "ObjectCreated:Put"
        | "ObjectCreated:Post"
        | "ObjectCreated:Copy"
        | "ObjectCreated:CompleteMultipartUpload"
        // Ceph: the object arrived from another zone.
        | "ObjectSynced:Create" => Ok(Effect::Create),
        "ObjectRemoved:Delete" | "LifecycleExpiration:Delete" => Ok(Effect::Delete),
        // Ceph: its gateway before and after it took over the names of AWS, see `of_ceph_name` for `Current`.
        "ObjectLifecycle:Expiration:Current"
        | "ObjectLifecycle:Expiration:NonCurrent"
        | "ObjectLifecycle:Expiration:Noncurrent"
        | "ObjectLifecycle:Expiration:DeleteMarker"
        | "ObjectSynced:Delete" => Ok(Effect::Delete),
        "ObjectRemoved:DeleteMarkerCreated"
        | "LifecycleExpiration:DeleteMarkerCreated"
        | "ObjectSynced:DeletionMarkerCreated" => Ok(Effect::Marker),
        // MinIO: a lifecycle rule removes the key with all its versions, whatever version the event names.
        "ObjectRemoved:DeleteAllVersions" | "LifecycleDelMarkerExpiration:Delete" => Ok(Effect::RemoveKey),
        "TestEvent" => Err(FilterReason::TestEvent),
        // Its `Delete` ends the restored copy; the object stays in the archive.
        "ObjectRestore:Post" | "ObjectRestore:Completed" | "ObjectRestore:Delete" => Err(FilterReason::Restore),
        "ObjectTagging:Put" | "ObjectTagging:Delete" => Err(FilterReason::Tagging),
        other if is_tagging_of_minio(other) => Err(FilterReason::Tagging),
        "ObjectAcl:Put" => Err(FilterReason::Acl),
        "LifecycleTransition"
        | "ObjectTransition:Complete"
        | "ObjectTransition:Failed"
        | "ObjectLifecycle:Transition:Current"
        | "ObjectLifecycle:Transition:NonCurrent"
        | "ObjectLifecycle:Transition:Noncurrent" => Err(FilterReason::LifecycleTransition),
        "IntelligentTiering" => Err(FilterReason::IntelligentTiering),
        "Replication:OperationFailedReplication"
        | "Replication:OperationMissedThreshold"
        | "Replication:OperationReplicatedAfterThreshold"
        | "Replication:OperationNotTracked"
        | "Replication:OperationCompletedReplication"
        | "Replication:Create"
        | "Replication:Delete"
        | "Replication:DeletionMarkerCreated" => Err(FilterReason::Replication),
        "ReducedRedundancyLostObject" => Err(FilterReason::LostObject),
        _ => Err(FilterReason::UnsupportedKind),
    }
}

/// The effect of an event name from Ceph: under `Replication` it is what another zone did to an object here, and
/// Ceph's first notifications gave a creation no name after the colon.
///
/// `names_version` is true for an event that names a version other than `null`. Where a rule expires the current object
/// of a bucket that keeps versions, Ceph puts a delete marker over it and names the version below the marker.
///
/// # Errors
/// The reason for which an event of this name is filtered.
pub fn of_ceph_name(name: &str, names_version: bool) -> Result<Effect, FilterReason> {
    match without_prefix(name) {
        "Replication:Create" | "ObjectCreated:*" => Ok(Effect::Create),
        "Replication:Delete" => Ok(Effect::Delete),
        "Replication:DeletionMarkerCreated" => Ok(Effect::Marker),
        "ObjectLifecycle:Expiration:Current" if names_version => Ok(Effect::Marker),
        _ => of_event_name(name),
    }
}

/// True for events that MinIO and RustFS name as creations although no object is written: tags, retention and legal
/// hold. Such an event may carry the whole description of the object, and then describes it.
pub(crate) fn is_tagging_of_minio(name: &str) -> bool {
    matches!(
        without_prefix(name),
        "ObjectCreated:PutTagging"
            | "ObjectCreated:DeleteTagging"
            | "ObjectCreated:PutRetention"
            | "ObjectCreated:PutLegalHold"
    )
}

/// The effect of a `detail-type` of EventBridge, for deletions together with the `deletion-type`.
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

/// Whether S3 sends events of this `detail-type`.
pub(crate) fn is_detail_type(detail_type: &str) -> bool {
    detail_type == "Object Deleted"
        || !matches!(of_detail_type(detail_type, None), Err((FilterReason::UnsupportedKind, _)))
}

/// The types of CloudEvents that are our own, see `schemas/README.md`.
pub(crate) fn of_plain_type(name: &str) -> Option<Effect> {
    match name.strip_prefix("millstream.object.")? {
        "created" => Some(Effect::Create),
        "deleted" => Some(Effect::Delete),
        "described" => Some(Effect::Describe),
        _ => None,
    }
}

fn without_prefix(name: &str) -> &str {
    name.strip_prefix("s3:").unwrap_or(name)
}
