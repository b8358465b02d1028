//! Lengths and flags: the number of entries, the length of each text, then runs of flags.

use super::super::entry::{Entry, Flags};
use super::super::varint::{Input, put as put_number};
use super::ENTRIES_MAX;

/// What stands beside the text of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of its text.
    pub length: usize,
    /// Its flags.
    pub flags: Flags,
}

pub(super) fn put(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * 2 + 16);
    put_number(&mut out, entries.len() as u64);
    for entry in entries {
        put_number(&mut out, entry.text.len() as u64);
    }
    for run in entries.chunk_by(|one, next| one.flags == next.flags) {
        if let Some(first) = run.first() {
            out.push(first.flags.bits());
            put_number(&mut out, run.len() as u64);
        }
    }
    out
}

/// `None` for what was never put.
pub(super) fn get(bytes: &[u8]) -> Option<Vec<Meta>> {
    let mut input = Input(bytes);
    let count = input.count().filter(|count| *count <= ENTRIES_MAX)?;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        // A sum of as many lengths as there can be bytes does not overflow.
        let length = input.number().and_then(|length| u32::try_from(length).ok())?;
        all.push(Meta { length: length as usize, flags: Flags::default() });
    }
    let mut left = all.as_mut_slice();
    while !left.is_empty() {
        let bits = *input.bytes(1)?.first()?;
        let flags = Flags::from_bits(bits)?;
        let run = usize::try_from(input.number()?).ok().filter(|run| *run > 0)?;
        let (these, others) = left.split_at_mut_checked(run)?;
        these.iter_mut().for_each(|meta| meta.flags = flags);
        left = others;
    }
    input.is_empty().then_some(all)
}
