//! Times: the number of entries, the unit, the first time, then differences. Clocks of milliseconds are usual, and
//! differences of few digits pack best.

use super::super::entry::Entry;
use super::super::varint::{Input, put as put_number, put_signed};
use super::ENTRIES_MAX;

/// Nanoseconds of each unit.
const UNITS: [i64; 4] = [1_000_000_000, 1_000_000, 1_000, 1];

pub(super) fn put(entries: &[Entry]) -> Vec<u8> {
    let divides = |unit: &i64| entries.iter().all(|entry| entry.key.time_ns % unit == 0);
    let number = UNITS.iter().position(divides).unwrap_or(UNITS.len() - 1);
    let unit = UNITS.get(number).copied().unwrap_or(1);
    let mut out = Vec::with_capacity(entries.len() * 2 + 16);
    put_number(&mut out, entries.len() as u64);
    put_number(&mut out, number as u64);
    let mut last = 0;
    for entry in entries {
        let time = entry.key.time_ns / unit;
        // Between the least and the largest time there is more room than 63 bits.
        put_signed(&mut out, time.wrapping_sub(last));
        last = time;
    }
    out
}

/// `None` for what was never put.
pub(super) fn get(bytes: &[u8]) -> Option<Vec<i64>> {
    let mut input = Input(bytes);
    let count = input.count().filter(|count| *count <= ENTRIES_MAX)?;
    let unit = *UNITS.get(usize::try_from(input.number()?).ok()?)?;
    let mut times = Vec::with_capacity(count);
    let mut last = 0_i64;
    for _ in 0..count {
        last = last.wrapping_add(input.signed()?);
        times.push(last.checked_mul(unit)?);
    }
    input.is_empty().then_some(times)
}
