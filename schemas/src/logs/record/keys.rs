//! Keys without their times: runs of entries whose index, or whose number, rises by one.
//!
//! A run is its length, doubled, and one more if it is the number that rises; then the origin, if it is another than
//! that of the run before (a byte tells), the bytes of the number from the first that is another on, and the index.

use super::super::entry::Entry;
use super::super::key::{Key, NUMBER_BYTES, Place};
use super::super::varint::{Input, put as put_number};

/// What rises within a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rises {
    Index,
    Number,
}

fn place(key: &Key) -> Place {
    Place { origin: key.origin, number: key.number, index: key.index }
}

/// The place of the entry behind this one; `None` behind the last possible one.
fn next(place: Place, rises: Rises) -> Option<Place> {
    if rises == Rises::Index {
        return Some(Place { index: place.index.checked_add(1)?, ..place });
    }
    let mut number = place.number;
    for byte in number.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return Some(Place { number, ..place });
        }
    }
    None
}

pub(super) fn put(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut before = Place { origin: 0, number: [0; NUMBER_BYTES], index: 0 };
    let mut places = entries.iter().map(|entry| place(&entry.key)).peekable();
    while let Some(first) = places.next() {
        let follows = places.peek().copied();
        let rises =
            if follows.is_some() && follows == next(first, Rises::Number) { Rises::Number } else { Rises::Index };
        let mut last = first;
        let mut length = 1_u64;
        while let Some(following) = places.next_if(|following| next(last, rises) == Some(*following)) {
            last = following;
            length += 1;
        }
        put_number(&mut out, length << 1 | u64::from(rises == Rises::Number));
        let shared = first.number.iter().zip(&before.number).take_while(|(one, other)| one == other).count();
        let has_origin = first.origin != before.origin;
        out.push(shared as u8 | u8::from(has_origin) << 7);
        if has_origin {
            out.extend_from_slice(&first.origin.to_be_bytes());
        }
        out.extend_from_slice(first.number.get(shared..).unwrap_or_default());
        put_number(&mut out, first.index);
        before = last;
    }
    out
}

/// The keys with these times; `None` for what was never put, or with another number of them.
pub(super) fn get(bytes: &[u8], times: &[i64]) -> Option<Vec<Key>> {
    let mut input = Input(bytes);
    let mut keys = Vec::with_capacity(times.len());
    let mut times = times.iter();
    let mut before = Place { origin: 0, number: [0; NUMBER_BYTES], index: 0 };
    while !input.is_empty() {
        let run = input.number()?;
        let rises = if run & 1 == 1 { Rises::Number } else { Rises::Index };
        let head = *input.bytes(1)?.first()?;
        if head & 0x80 != 0 {
            before.origin = u64::from_be_bytes(input.bytes(8)?.try_into().ok()?);
        }
        let changed = before.number.get_mut(usize::from(head & 0x7f)..)?;
        changed.copy_from_slice(input.bytes(changed.len())?);
        before.index = input.number()?;
        for step in 0..run >> 1 {
            if step > 0 {
                before = next(before, rises)?;
            }
            keys.push(before.key(*times.next()?, 0));
        }
    }
    times.next().is_none().then_some(keys)
}
