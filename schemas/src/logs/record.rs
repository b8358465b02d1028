//! A record: entries of one stream, column by column, each column a section of its own.
//!
//! | section | what it has |
//! |---|---|
//! | `times` | the times, as differences in the largest unit that loses nothing |
//! | `meta` | the lengths of the texts, and runs of flags |
//! | `keys` | runs of origin, number and index |
//! | `extra` | what origins said beside the text, where they did |
//! | `text` | exactly what an export prints: each text, and a newline behind it unless it is open |

mod extra;
mod keys;
mod meta;
mod times;

use bytes::Bytes;

use super::blob::{BlobError, Packer, unpack};
use super::entry::{Entry, Flags};
use super::key::{Key, NUMBER_BYTES};

pub use meta::Meta;

/// Bytes of text in a record; its writers choose less.
pub const TEXT_BYTES_MAX: usize = 6 << 20;
/// Entries of a record: in memory each takes a hundred bytes, however short its text is.
pub const ENTRIES_MAX: usize = 1 << 16;

/// The columns of a record, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sections {
    /// See the module.
    pub times: Vec<u8>,
    /// See the module.
    pub meta: Vec<u8>,
    /// See the module.
    pub keys: Vec<u8>,
    /// See the module; `None` if no entry has any.
    pub extra: Option<Vec<u8>>,
    /// See the module.
    pub text: Vec<u8>,
    /// The number of entries.
    pub entries: u32,
    /// Unpacked bytes of the text.
    pub text_bytes: u32,
    /// The least key.
    pub least: Key,
    /// The largest key.
    pub greatest: Key,
}

/// Packs entries of one stream, which must be in order. `None` without entries, or beyond [`TEXT_BYTES_MAX`] or
/// [`ENTRIES_MAX`].
pub fn pack(entries: &[Entry], packer: &mut Packer) -> Option<Sections> {
    debug_assert!(entries.is_sorted(), "entries of a record are in order");
    pack_in_any_order(entries, packer)
}

/// The same of entries that have no order yet.
pub(super) fn pack_in_any_order(entries: &[Entry], packer: &mut Packer) -> Option<Sections> {
    let least = entries.first()?.key;
    let greatest = entries.last()?.key;
    let text_bytes = entries.iter().map(Entry::text_bytes).sum();
    if text_bytes > TEXT_BYTES_MAX || entries.len() > ENTRIES_MAX {
        return None;
    }
    let mut text = Vec::with_capacity(text_bytes);
    for entry in entries {
        text.extend_from_slice(&entry.text);
        if !entry.flags.has(Flags::OPEN) {
            text.push(b'\n');
        }
    }
    Some(Sections {
        times: packer.pack(&times::put(entries)),
        meta: packer.pack(&meta::put(entries)),
        keys: packer.pack(&keys::put(entries)),
        extra: extra::put(entries).map(|extra| packer.pack(&extra)),
        text: packer.pack(&text),
        entries: u32::try_from(entries.len()).ok()?,
        text_bytes: u32::try_from(text_bytes).ok()?,
        least,
        greatest,
    })
}

/// The times of a record, from that section alone.
///
/// # Errors
/// If it cannot be read.
pub fn times(section: &[u8]) -> Result<Vec<i64>, BlobError> {
    times::get(&unpack(section)?).ok_or(BlobError::Damaged("its times"))
}

/// Lengths and flags of a record, from that section alone.
///
/// # Errors
/// If it cannot be read.
pub fn meta(section: &[u8]) -> Result<Vec<Meta>, BlobError> {
    meta::get(&unpack(section)?).ok_or(BlobError::Damaged("its lengths and flags"))
}

/// All entries of a record.
///
/// # Errors
/// If a section cannot be read, or does not belong to the others.
pub fn unpack_all([times, meta, keys, text]: [&[u8]; 4], extra: Option<&[u8]>) -> Result<Vec<Entry>, BlobError> {
    let lines = unpack_lines(times, meta, extra, text)?;
    let times: Vec<i64> = lines.iter().map(|(time, _)| time.unwrap_or_default()).collect();
    let keys = keys::get(&unpack(keys)?, &times).ok_or(BlobError::Damaged("its keys"))?;
    Ok(keys.into_iter().zip(lines).map(|(key, (_, entry))| Entry { key, ..entry }).collect())
}

/// Entries without their keys, each with its time; `None` for 0.
pub(super) fn unpack_lines(
    times: &[u8],
    meta: &[u8],
    extra: Option<&[u8]>,
    text: &[u8],
) -> Result<Vec<(Option<i64>, Entry)>, BlobError> {
    let times = self::times(times)?;
    let meta = self::meta(meta)?;
    let text = Bytes::from(unpack(text)?);
    let mut extras = match extra {
        Some(extra) => extra::get(&unpack(extra)?, times.len()).ok_or(BlobError::Damaged("its extras"))?,
        None => vec![None; times.len()],
    };
    if meta.len() != times.len() {
        return Err(BlobError::Damaged("another number of entries"));
    }
    let none = Key { time_ns: 0, origin: 0, number: [0; NUMBER_BYTES], index: 0 };
    let mut lines = Vec::with_capacity(times.len());
    let mut at = 0;
    for ((time, meta), extra) in times.into_iter().zip(meta).zip(&mut extras) {
        let end = at + meta.length;
        if end > text.len() {
            return Err(BlobError::Damaged("its text is too short"));
        }
        let entry = Entry { key: none, text: text.slice(at..end), flags: meta.flags, extra: extra.take() };
        lines.push((Some(time).filter(|time| *time != 0), entry));
        at = end + usize::from(!meta.flags.has(Flags::OPEN));
    }
    if at != text.len() {
        return Err(BlobError::Damaged("its text has another length"));
    }
    Ok(lines)
}

impl Sections {
    /// All entries.
    ///
    /// # Errors
    /// If a section cannot be read.
    pub fn unpack(&self) -> Result<Vec<Entry>, BlobError> {
        unpack_all([&self.times, &self.meta, &self.keys, &self.text], self.extra.as_deref())
    }
}

#[cfg(test)]
mod tests;
