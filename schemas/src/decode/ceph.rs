//! The gateway of Ceph: a notification of S3 with `opaqueData` and `eventId` beside `s3`, metadata and tags as arrays
//! of `{"key":..,"val":..}`, and the key as it is, not form-encoded.
//!
//! Format: <https://docs.ceph.com/en/latest/radosgw/notifications/#events>.

use crate::shape::{Record, Vendor};

/// True for a record that only Ceph writes.
pub(super) fn is_marked(record: &Record<'_>) -> bool {
    record.is_ceph || record.vendor == Vendor::Ceph
}
