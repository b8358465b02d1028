//! An event about an object, independent of its dialect.

use std::borrow::Cow;

use super::filter::FilterReason;
use super::order::Order;
use crate::refusal::Refusal;

/// The outcome of one event of a record. There is no fourth one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// An event to write.
    Event(ObjectEvent<'a>),
    /// An event that does not concern us.
    Filtered {
        /// The reason.
        reason: FilterReason,
        /// The name the emitter gave it, for counting by name.
        name: Cow<'a, str>,
    },
    /// A record or event that cannot be understood.
    Refused(Refusal),
}

impl Decoded<'_> {
    /// The same, owning its text.
    pub fn into_owned(self) -> Decoded<'static> {
        match self {
            Self::Event(event) => Decoded::Event(event.into_owned()),
            Self::Filtered { reason, name } => Decoded::Filtered { reason, name: Cow::Owned(name.into_owned()) },
            Self::Refused(refusal) => Decoded::Refused(refusal),
        }
    }
}

/// One change of one version of one object.
///
/// All text is free of NUL and within its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEvent<'a> {
    /// The bucket, never empty.
    pub bucket: Cow<'a, str>,
    /// The key as the application wrote it (decoded once), never empty.
    pub key: Cow<'a, str>,
    /// The version; empty when the object has none. The null version of S3 is that same row, so it is empty too.
    /// Always empty when the whole key is removed.
    pub version_id: Cow<'a, str>,
    /// What happened to the version.
    pub effect: Effect,
    /// Its place in the order of events of the same version.
    pub order: Order,
    /// Bytes; `None` when the event does not say, and always for a deletion.
    pub size: Option<i64>,
    /// The entity tag without quotes; empty when the event does not say, and always for a deletion.
    pub etag: Cow<'a, str>,
    /// The description of the object, if the event has one.
    pub description: Option<Description<'a>>,
    /// The dialect it came in.
    pub dialect: Dialect,
}

impl ObjectEvent<'_> {
    /// The same, owning its text.
    pub fn into_owned(self) -> ObjectEvent<'static> {
        ObjectEvent {
            bucket: owned(self.bucket),
            key: owned(self.key),
            version_id: owned(self.version_id),
            effect: self.effect,
            order: self.order,
            size: self.size,
            etag: owned(self.etag),
            description: self.description.map(Description::into_owned),
            dialect: self.dialect,
        }
    }
}

/// The effect of an event on the version it names, or on all versions of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Only describes; says nothing about size or existence.
    Describe = 0,
    /// The version exists with these facts.
    Create = 1,
    /// The version is a delete marker.
    Marker = 2,
    /// The version is gone for good.
    Delete = 3,
    /// Every version of the key is gone for good, delete markers too. The event names no version.
    RemoveKey = 4,
}

impl Effect {
    /// The stable number. Tables store it of every effect but [`Effect::RemoveKey`], which makes deletions of rows.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Create => "create",
            Self::Marker => "marker",
            Self::Delete => "delete",
            Self::RemoveKey => "remove_key",
        }
    }
}

/// Content type, user metadata and tags, as far as an event carries them.
///
/// `None` means that the event has no such part; `Some("{}")` means that there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description<'a> {
    /// The content type.
    pub content_type: Option<Cow<'a, str>>,
    /// User metadata as a JSON object: names in lower case without `x-amz-meta-`, sorted; every value a string.
    pub metadata: Option<Cow<'a, str>>,
    /// Tags as a JSON object, sorted by name; names keep their case, every value a string.
    pub tags: Option<Cow<'a, str>>,
}

impl Description<'_> {
    /// True if all parts are `None`.
    pub fn is_empty(&self) -> bool {
        self.content_type.is_none() && self.metadata.is_none() && self.tags.is_none()
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Description<'static> {
        Description {
            content_type: self.content_type.map(owned),
            metadata: self.metadata.map(owned),
            tags: self.tags.map(owned),
        }
    }
}

/// Maximum bytes of the key of a record. The key only decides the partition, and the pipeline will refuse events with
/// longer ones, so a cut is enough.
pub const ENTITY_KEY_BYTES_MAX: usize = 2048;

/// The object that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entity<'a> {
    /// The bucket; empty where it cannot be read.
    pub bucket: Cow<'a, str>,
    /// The key as the application wrote it; empty where it cannot be read.
    pub key: Cow<'a, str>,
}

impl Entity<'_> {
    /// Whether no object is named.
    pub fn is_unknown(&self) -> bool {
        self.bucket.is_empty() && self.key.is_empty()
    }

    /// Appends the key that decides the partition: bucket, `/` and key, cut at [`ENTITY_KEY_BYTES_MAX`]; nothing if no
    /// object is named. Every maker of records must use this, so that events of one object stay in order.
    pub fn append_key(&self, to: &mut Vec<u8>) {
        if self.is_unknown() {
            return;
        }
        let start = to.len();
        to.extend_from_slice(self.bucket.as_bytes());
        to.push(b'/');
        to.extend_from_slice(self.key.as_bytes());
        to.truncate(start.saturating_add(ENTITY_KEY_BYTES_MAX));
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Entity<'static> {
        Entity { bucket: owned(self.bucket), key: owned(self.key) }
    }
}

/// The dialect an event came in; for people and metrics, it decides nothing afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// A notification of S3, and of the stores that send the same.
    Aws,
    /// EventBridge.
    EventBridge,
    /// MinIO and RustFS.
    Minio,
    /// The gateway of Ceph.
    Ceph,
    /// Scality.
    Scality,
    /// CloudEvents around the data of S3.
    CloudEvents,
    /// The `millstream.object.*` types.
    Plain,
}

impl Dialect {
    /// Every dialect, in the order of declaration.
    pub const ALL: [Self; 7] =
        [Self::Aws, Self::EventBridge, Self::Minio, Self::Ceph, Self::Scality, Self::CloudEvents, Self::Plain];

    /// True if keys are form-encoded; if not, they stand as the application wrote them.
    pub(crate) const fn encodes_keys(self) -> bool {
        matches!(self, Self::Aws | Self::Minio | Self::CloudEvents)
    }

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::EventBridge => "event_bridge",
            Self::Minio => "minio",
            Self::Ceph => "ceph",
            Self::Scality => "scality",
            Self::CloudEvents => "cloud_events",
            Self::Plain => "plain",
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(bucket: &str, key: &str) -> Vec<u8> {
        let mut to = b"before".to_vec();
        Entity { bucket: bucket.into(), key: key.into() }.append_key(&mut to);
        to.split_off("before".len())
    }

    #[test]
    fn the_key_of_a_record_is_that_of_its_object_and_bounded() {
        assert_eq!(key("uploads", "in/a b.jpg"), b"uploads/in/a b.jpg");
        assert_eq!((key("", ""), key("b", ""), key("", "k")), (vec![], b"b/".to_vec(), b"/k".to_vec()));
        let long = "x".repeat(ENTITY_KEY_BYTES_MAX);
        let longer = "x".repeat(ENTITY_KEY_BYTES_MAX + 1);
        assert_eq!(key("b", &long).len(), ENTITY_KEY_BYTES_MAX);
        assert_eq!(key("b", &long), key("b", &longer));
    }
}
