//! The frame of a section: one byte for the format, one for the codec, the unpacked length (4 bytes, little-endian), the
//! data, and the CRC-32C of all before it (4 bytes, little-endian).
//!
//! A reader takes every format up to its own. A later format keeps the first byte and the last four, so that a reader
//! can tell a newer format from damage.

use zstd::bulk::{Compressor, Decompressor};

/// The format that is written.
pub const FORMAT: u8 = 1;
/// Unpacked bytes of a section; more are damage.
pub const UNPACKED_MAX: usize = 8 << 20;

const HEAD: usize = 6;
const CHECKSUM: usize = 4;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;

/// Why a section cannot be read. Only that record is lost by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Its bytes are not those that were written.
    #[error("damaged: {0}")]
    Damaged(&'static str),
    /// A later release wrote it.
    #[error("unreadable: newer format {0}")]
    Newer(u8),
}

/// Packs sections.
pub struct Packer(Option<Compressor<'static>>);

impl std::fmt::Debug for Packer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Packer")
    }
}

impl Packer {
    /// Compresses by zstd with this level.
    ///
    /// # Errors
    /// If zstd does not know the level.
    pub fn with_level(level: i32) -> std::io::Result<Packer> {
        Ok(Packer(Some(Compressor::new(level)?)))
    }

    /// Compresses nothing.
    pub fn plain() -> Packer {
        Packer(None)
    }

    /// The section of these bytes. What would not become smaller stays as it is.
    pub fn pack(&mut self, bytes: &[u8]) -> Vec<u8> {
        let packed = self.0.as_mut().and_then(|zstd| zstd.compress(bytes).ok());
        let packed = packed.filter(|packed| packed.len() < bytes.len());
        let (codec, data) = packed.as_ref().map_or((PLAIN, bytes), |packed| (ZSTD, packed));
        let mut blob = Vec::with_capacity(HEAD + data.len() + CHECKSUM);
        blob.extend_from_slice(&[FORMAT, codec]);
        // Larger ones are no reader's: who packs them made a mistake, which the check of the length shows.
        blob.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        blob.extend_from_slice(data);
        let checksum = crc32c::crc32c(&blob);
        blob.extend_from_slice(&checksum.to_le_bytes());
        blob
    }
}

/// The bytes of a section.
///
/// # Errors
/// If it is damaged, or of a newer format.
pub fn unpack(blob: &[u8]) -> Result<Vec<u8>, BlobError> {
    let (sealed, checksum) = blob.split_last_chunk().ok_or(BlobError::Damaged("too short"))?;
    if crc32c::crc32c(sealed).to_le_bytes() != *checksum {
        return Err(BlobError::Damaged("its checksum is another"));
    }
    let (format, rest) = sealed.split_first().ok_or(BlobError::Damaged("too short"))?;
    if *format > FORMAT {
        return Err(BlobError::Newer(*format));
    }
    let (codec, rest) = rest.split_first().ok_or(BlobError::Damaged("too short"))?;
    let (length, data) = rest.split_first_chunk().ok_or(BlobError::Damaged("too short"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > UNPACKED_MAX {
        return Err(BlobError::Damaged("too long"));
    }
    let bytes = match *codec {
        PLAIN => data.to_vec(),
        ZSTD => Decompressor::new()
            .and_then(|mut zstd| zstd.decompress(data, length))
            .map_err(|_| BlobError::Damaged("zstd cannot read it"))?,
        _ => return Err(BlobError::Damaged("an unknown codec")),
    };
    if bytes.len() != length || *format == 0 {
        return Err(BlobError::Damaged("another length"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packers() -> [Packer; 3] {
        [Packer::plain(), Packer::with_level(1).unwrap(), Packer::with_level(9).unwrap()]
    }

    proptest! {
        #[test]
        fn sections_come_back(bytes: Vec<u8>) {
            for mut packer in packers() {
                prop_assert_eq!(unpack(&packer.pack(&bytes)), Ok(bytes.clone()));
            }
        }

        #[test]
        fn any_bytes_can_be_read(bytes: Vec<u8>) {
            let mut sealed = bytes.clone();
            sealed.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
            // Neither panics.
            unpack(&bytes).ok();
            unpack(&sealed).ok();
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let text = "the same line again and again\n".repeat(20);
        for mut packer in packers() {
            let blob = packer.pack(text.as_bytes());
            for bit in 0..blob.len() * 8 {
                let mut flipped = blob.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(matches!(unpack(&flipped), Err(BlobError::Damaged(_))), "bit {bit}");
            }
        }
    }

    fn sealed(mut blob: Vec<u8>) -> Vec<u8> {
        let checksum = crc32c::crc32c(&blob).to_le_bytes();
        blob.extend_from_slice(&checksum);
        blob
    }

    #[test]
    fn a_newer_format_is_told_from_damage() {
        assert_eq!(unpack(&sealed(vec![2, 9, 9])), Err(BlobError::Newer(2)));
        assert_eq!(unpack(&sealed(vec![0, 0, 0, 0, 0, 0])), Err(BlobError::Damaged("another length")));
    }

    #[test]
    fn a_length_that_is_not_true_makes_no_room() {
        let length = u32::try_from(UNPACKED_MAX).unwrap() + 1;
        let long = [&[1, 0][..], &length.to_le_bytes(), b"x"].concat();
        assert_eq!(unpack(&sealed(long)), Err(BlobError::Damaged("too long")));
        let mut blob = Packer::with_level(3).unwrap().pack(&[7; 4_096]);
        blob.truncate(blob.len() - CHECKSUM);
        blob[2..6].copy_from_slice(&100_u32.to_le_bytes());
        assert_eq!(unpack(&sealed(blob)), Err(BlobError::Damaged("zstd cannot read it")));
    }

    #[test]
    fn what_does_not_become_smaller_stays_as_it_is() {
        let blob = Packer::with_level(3).unwrap().pack(b"abc");
        assert_eq!((blob[1], blob.len()), (PLAIN, HEAD + 3 + CHECKSUM));
    }
}
