//! What origins said beside the text: for each entry that has any, how many have none before it, its length, its bytes.

use bytes::Bytes;

use super::super::entry::Entry;
use super::super::varint::{Input, put as put_number, put_piece};

/// `None` if no entry has any.
pub(super) fn put(entries: &[Entry]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut without = 0;
    for entry in entries {
        let Some(extra) = &entry.extra else {
            without += 1;
            continue;
        };
        put_number(&mut out, without);
        put_piece(&mut out, extra);
        without = 0;
    }
    (!out.is_empty()).then_some(out)
}

/// `None` for what was never put.
pub(super) fn get(bytes: &[u8], entries: usize) -> Option<Vec<Option<Bytes>>> {
    let mut input = Input(bytes);
    let mut all = vec![None; entries];
    let mut places = all.iter_mut();
    while !input.is_empty() {
        let place = places.nth(usize::try_from(input.number()?).ok()?)?;
        *place = Some(Bytes::copy_from_slice(input.piece()?));
    }
    Some(all)
}
