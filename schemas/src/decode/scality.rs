//! Scality: a notification of S3 that signs itself in `eventSource`, with `eventVersion` 1.0 (0.1 before), the key as it
//! is, sizes as text, and `null` for what it does not know.

use crate::shape::{Record, Vendor};

/// True for a record that Scality wrote.
pub(super) fn is_marked(record: &Record<'_>) -> bool {
    record.vendor == Vendor::Scality
}
