//! What a request may cost: an empty record takes two bytes on the wire, and hundreds in memory.

use super::super::decoded::ENTRIES_MAX;
use super::super::varint::Input;
use crate::refusal::{Refusal, RefusalReason};

/// Bytes of a request: what collectors take by default.
const REQUEST_BYTES_MAX: usize = 4 << 20;
/// Objects of a request in JSON, of whatever kind.
const OBJECTS_MAX: usize = 1 << 19;
/// The fields that lead from a request to its records: `resource_logs`, `scope_logs`, `log_records`.
const RECORDS: [u64; 3] = [1, 2, 2];

/// Refuses what is too large before it is read.
pub(super) fn check(bytes: &[u8]) -> Result<(), Refusal> {
    if bytes.len() <= REQUEST_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("OTLP: {} bytes in one request, the limit is {REQUEST_BYTES_MAX}", bytes.len());
    Err(Refusal::new(RefusalReason::TooLargeUnpacked, detail))
}

/// Refuses a document with too many objects.
pub(super) fn check_json(document: &[u8]) -> Result<(), Refusal> {
    check(document)?;
    match memchr::memchr_iter(b'{', document).count() {
        0..=OBJECTS_MAX => Ok(()),
        _ => Err(Refusal::new(RefusalReason::TooManyEvents, format!("OTLP: more than {OBJECTS_MAX} objects"))),
    }
}

/// Refuses a message with too many records. What cannot be walked is left to who reads it.
pub(super) fn check_protobuf(bytes: &[u8]) -> Result<(), Refusal> {
    check(bytes)?;
    match count(bytes, &RECORDS) {
        Some(0..=ENTRIES_MAX) | None => Ok(()),
        Some(_) => Err(Refusal::new(RefusalReason::TooManyEvents, format!("OTLP: more than {ENTRIES_MAX} records"))),
    }
}

/// How many messages there are behind these fields. Format: protocol buffers, "Encoding".
fn count(bytes: &[u8], fields: &[u64]) -> Option<usize> {
    let (field, inner) = fields.split_first()?;
    let mut input = Input(bytes);
    let mut found = 0;
    while !input.is_empty() {
        let tag = input.number()?;
        match tag & 7 {
            0 => drop(input.number()?),
            1 => drop(input.bytes(8)?),
            2 => {
                let message = input.piece()?;
                if tag >> 3 == *field {
                    found += if inner.is_empty() { 1 } else { count(message, inner)? };
                }
            }
            5 => drop(input.bytes(4)?),
            _ => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::super::message::{LogRecord, Request, ResourceLogs, ScopeLogs};
    use super::*;

    fn request(records: usize) -> Vec<u8> {
        let log_records = vec![LogRecord::default(); records];
        let scope_logs = vec![ScopeLogs { scope: None, log_records }, ScopeLogs::default()];
        let resource_logs = vec![ResourceLogs { resource: None, scope_logs }, ResourceLogs::default()];
        Request { resource_logs }.encode_to_vec()
    }

    #[test]
    fn records_are_counted_before_they_are_read() {
        assert_eq!(count(&request(17), &RECORDS), Some(17));
        assert_eq!(check_protobuf(&request(ENTRIES_MAX)), Ok(()));
        assert_eq!(check_protobuf(&request(ENTRIES_MAX + 1)).unwrap_err().reason, RefusalReason::TooManyEvents);
        let cut = request(2);
        for length in 0..cut.len() {
            check_protobuf(&cut[..length]).ok();
        }
    }

    #[test]
    fn a_document_of_empty_records_is_refused() {
        assert_eq!(check_json(&b"{},".repeat(OBJECTS_MAX)), Ok(()));
        assert_eq!(check_json(&b"{},".repeat(OBJECTS_MAX + 1)).unwrap_err().reason, RefusalReason::TooManyEvents);
        assert_eq!(check_json(&vec![b' '; REQUEST_BYTES_MAX + 1]).unwrap_err().reason, RefusalReason::TooLargeUnpacked);
    }
}
