//! Unpacks gzip within limits: those that bodies of HTTP have, too.

use std::io::Read as _;

use flate2::bufread::MultiGzDecoder;

use crate::refusal::{Refusal, RefusalReason};

/// Unpacked bytes of a record.
pub const UNPACKED_MAX: usize = 32 << 20;

/// Up to here any ratio is allowed: a small record does no harm.
const RATIO_FREE: usize = 1 << 20;
/// Logs pack 10 to 50 times; a bomb of gzip reaches 1,030.
const RATIO_MAX: usize = 200;
/// How gzip begins.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Whether it is gzip.
pub(super) fn is_gzip(payload: &[u8]) -> bool {
    payload.starts_with(&MAGIC)
}

/// About how many bytes a record takes once it is unpacked: gzip ends with its length. That may be a lie, but not one
/// beyond the limits.
pub fn weight(payload: &[u8]) -> usize {
    match payload.last_chunk() {
        Some(length) if is_gzip(payload) => payload.len() + (u32::from_le_bytes(*length) as usize).min(UNPACKED_MAX),
        _ => payload.len(),
    }
}

/// The bytes of all members.
pub(super) fn inflate(payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    let most = payload.len().saturating_mul(RATIO_MAX).clamp(RATIO_FREE, UNPACKED_MAX);
    let mut out = Vec::new();
    // One more byte tells that there is more.
    let read = MultiGzDecoder::new(payload).take(most as u64 + 1).read_to_end(&mut out);
    if out.len() > most {
        let detail = format!("more than {UNPACKED_MAX} bytes, or {RATIO_MAX} times its packed size, which no logs do");
        return Err(Refusal::new(RefusalReason::TooLargeUnpacked, detail));
    }
    read.map_err(|error| Refusal::new(RefusalReason::BadGzip, error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    pub(in crate::logs) fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn members_are_joined_and_what_is_cut_is_refused() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(inflate(&two).unwrap(), b"one two");
        for length in [2, 10, two.len() - 1] {
            assert_eq!(inflate(&two[..length]).unwrap_err().reason, RefusalReason::BadGzip, "{length} bytes");
        }
    }

    #[test]
    fn bombs_end_at_the_limits() {
        let small = gzip(&vec![b' '; RATIO_FREE]);
        assert_eq!(inflate(&small).unwrap().len(), RATIO_FREE);
        for bytes in [RATIO_FREE + 1, 64 << 20] {
            let refused = inflate(&gzip(&vec![b' '; bytes])).unwrap_err();
            assert_eq!(refused.reason, RefusalReason::TooLargeUnpacked, "{bytes} bytes");
        }
    }

    #[test]
    fn a_record_weighs_what_it_unpacks_to_within_the_limit() {
        let packed = gzip(&vec![7; 100_000]);
        assert_eq!(weight(&packed), packed.len() + 100_000);
        assert_eq!(weight(b"plain"), 5);
        assert_eq!(weight(&[&MAGIC[..], &[0xff; 4]].concat()), 6 + UNPACKED_MAX);
        assert_eq!(weight(b"\x1f\x8b"), 2);
    }
}
