//! MinIO and RustFS: a notification with `EventName` and `Key` beside `Records`, event names with the prefix `s3:`,
//! and `contentType` and `userMetadata` in the object, so a creation also describes. MinIO leaves out a size of zero.

use crate::shape::{Record, Vendor};

/// True for a record that only these stores write: each says which host served the request.
pub(super) fn is_marked(record: &Record<'_>) -> bool {
    record.is_minio || matches!(record.vendor, Vendor::Minio | Vendor::RustFs)
}
