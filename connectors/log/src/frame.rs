//! The frame: what one write of a group puts on disk, with everything needed to check it.
//!
//! Numbers are little endian.
//!
//! | byte | size | field | |
//! |---|---|---|---|
//! | 0 | 4 | magic | `MSF1` |
//! | 4 | 4 | head check | CRC-32C of bytes 8 to 56 |
//! | 8 | 4 | tag | random per topic: a frame inside a payload is not taken for one of the log |
//! | 12 | 4 | partition | |
//! | 16 | 4 | count | records in the frame, 1 at least |
//! | 20 | 4 | length | bytes of payload that follow |
//! | 24 | 4 | raw length | of the payload before zstd; equal to `length` where it is stored uncompressed |
//! | 28 | 4 | payload check | CRC-32C of the payload as stored |
//! | 32 | 8 | base | offset of the first record |
//! | 40 | 8 | timestamp | milliseconds since 1970, never less than in the frame before |
//! | 48 | 8 | synced | durable length of this segment when the frame was written |
//!
//! The head has a check of its own, because seeking hops from head to head without reading payloads.

use bytes::Bytes;

use crate::options::RECORD_BYTES_LIMIT;

/// Bytes before the payload.
pub(crate) const HEAD_BYTES: usize = 56;
/// The first bytes of each frame.
pub(crate) const MAGIC: [u8; 4] = *b"MSF1";
/// A frame holds one group, or one record that is larger. The margin is for lengths.
const RAW_BYTES_LIMIT: u32 = (RECORD_BYTES_LIMIT as u32) * 2;

/// Which partition of which topic a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tag: u32,
    pub(crate) partition: u32,
}

/// A frame's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) place: Place,
    pub(crate) count: u32,
    pub(crate) length: u32,
    pub(crate) raw_length: u32,
    pub(crate) payload_check: u32,
    pub(crate) base: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) synced: u64,
}

impl Head {
    /// Reads a head; the error names the failed check.
    pub(crate) fn parse(bytes: &[u8; HEAD_BYTES], place: Place) -> Result<Self, &'static str> {
        let (checks, body) = bytes.split_at(8);
        if !checks.starts_with(&MAGIC) {
            return Err("no frame begins here");
        }
        if crc32c::crc32c(body).to_le_bytes() != checks[4..] {
            return Err("the check of a frame's head is wrong");
        }
        let four = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let eight = |at: usize| u64::from(four(at)) | u64::from(four(at + 4)) << 32;
        let head = Self {
            place: Place { tag: four(8), partition: four(12) },
            count: four(16),
            length: four(20),
            raw_length: four(24),
            payload_check: four(28),
            base: eight(32),
            timestamp_ms: eight(40).cast_signed(),
            synced: eight(48),
        };
        if head.place != place {
            return Err("the frame belongs to another topic or partition");
        }
        if head.count == 0 || head.length > head.raw_length || head.raw_length > RAW_BYTES_LIMIT {
            return Err("the frame's head makes no sense");
        }
        if head.base.checked_add(u64::from(head.count)).is_none() {
            return Err("the frame's offsets overflow");
        }
        Ok(head)
    }

    /// The offset after the last record. Cannot overflow in a head that was parsed.
    pub(crate) fn end(&self) -> u64 {
        self.base.saturating_add(u64::from(self.count))
    }

    /// Bytes of the whole frame.
    pub(crate) fn frame_bytes(&self) -> u64 {
        HEAD_BYTES as u64 + u64::from(self.length)
    }

    fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[8..12].copy_from_slice(&self.place.tag.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.place.partition.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.count.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.length.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.raw_length.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.payload_check.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.base.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.timestamp_ms.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.synced.to_le_bytes());
        let check = crc32c::crc32c(&bytes[8..]);
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

/// What the caller knows about a frame to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealing {
    pub(crate) place: Place,
    pub(crate) count: u32,
    pub(crate) base: u64,
    pub(crate) timestamp_ms: i64,
    pub(crate) synced: u64,
}

/// Builds frames; keeps zstd's working memory and its buffers between them.
pub(crate) struct Sealer {
    compressor: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
    frame: Vec<u8>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    pub(crate) fn new(zstd_level: i32) -> std::io::Result<Self> {
        let compressor = zstd::bulk::Compressor::new(zstd_level)?;
        Ok(Self { compressor, compressed: Vec::new(), frame: Vec::new() })
    }

    /// The bytes of one frame around `raw`, valid until the next call.
    pub(crate) fn seal(&mut self, raw: &[u8], sealing: Sealing) -> std::io::Result<&[u8]> {
        self.compressed.clear();
        self.compressed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        self.compressor.compress_to_buffer(raw, &mut self.compressed)?;
        let payload = if self.compressed.len() < raw.len() { &self.compressed } else { raw };
        let too_large = |_| std::io::Error::from(std::io::ErrorKind::FileTooLarge);
        let head = Head {
            place: sealing.place,
            count: sealing.count,
            length: u32::try_from(payload.len()).map_err(too_large)?,
            raw_length: u32::try_from(raw.len()).map_err(too_large)?,
            payload_check: crc32c::crc32c(payload),
            base: sealing.base,
            timestamp_ms: sealing.timestamp_ms,
            synced: sealing.synced,
        };
        self.frame.clear();
        self.frame.extend_from_slice(&head.to_bytes());
        self.frame.extend_from_slice(payload);
        Ok(&self.frame)
    }
}

thread_local! {
    // zstd's decompression state is about 150 KB: one per reading thread instead of one per frame.
    static DECOMPRESSOR: std::cell::RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { std::cell::RefCell::new(None) };
}

/// Checks a payload against its head and undoes the compression, into a buffer that the records will share.
pub(crate) fn open(head: &Head, payload: &[u8]) -> Result<Bytes, &'static str> {
    if crc32c::crc32c(payload) != head.payload_check {
        return Err("the check of a frame's payload is wrong");
    }
    if head.length == head.raw_length {
        return Ok(Bytes::copy_from_slice(payload));
    }
    let mut raw = Vec::with_capacity(head.raw_length as usize);
    let decompressed = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        decompressor.decompress_to_buffer(payload, &mut raw)
    });
    match decompressed {
        Ok(length) if length == head.raw_length as usize => Ok(raw.into()),
        _ => Err("a frame's payload does not decompress to its length"),
    }
}
