//! RFC 3339 times and related ones of ISO 8601, parsed exactly: no rounding, no clock, no time zone but the offset.

use crate::refusal::{Refusal, RefusalReason};

/// Digits of a fraction of a second that are read; 18 reach attoseconds, no emitter writes more than nine.
const FRACTION_DIGITS_MAX: usize = 18;

/// A moment: whole seconds since 1970, negative before, and 2^-32 parts of a second after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) seconds: i64,
    pub(crate) fraction: u32,
}

impl Instant {
    /// Unsigned 32.32 fixed point; `None` outside 1970 to 2106.
    pub(crate) fn fixed_point(self) -> Option<u64> {
        let seconds = u32::try_from(self.seconds).ok()?;
        Some((u64::from(seconds) << 32) | u64::from(self.fraction))
    }
}

/// Seconds and a fraction below one, as 32.32 fixed point rounded down.
pub(crate) fn fixed_point(seconds: u32, numerator: u128, denominator: u128) -> u64 {
    (u64::from(seconds) << 32) | u64::from(fraction(numerator, denominator))
}

/// Reads an RFC 3339 time, `YYYY-MM-DDTHH:MM:SS[.fraction](Z|+HH:MM|-HH:MM)`, in which a space or lower case may stand
/// for `T` and `Z`, and what ISO 8601 allows beside it without a second meaning: the basic form `YYYYMMDDTHHMMSS`, a
/// comma before the fraction, no seconds where they are zero, and offsets `+HHMM` and `+HH`.
pub(crate) fn parse(text: &str) -> Result<Instant, Refusal> {
    read(text.as_bytes()).ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        Refusal::new(RefusalReason::BadTime, format!("{shown:?} is not an RFC 3339 time"))
    })
}

fn read(bytes: &[u8]) -> Option<Instant> {
    let ([year, month, day], rest) = read_date(bytes)?;
    let ([b'T' | b't' | b' '], rest) = rest.split_first_chunk()? else { return None };
    let ([hour, minute, second], rest) = read_clock(rest)?;
    // Second 60 is a leap second: counted from 1970 it is the first second of the next minute.
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = read_fraction(rest)?;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(Instant { seconds: seconds - read_offset_seconds(zone)?, fraction })
}

/// Year, month and day, and the bytes after them.
fn read_date(bytes: &[u8]) -> Option<([i64; 3], &[u8])> {
    let (parts, rest) = match bytes {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, rest @ ..] => ([y1, y2, y3, y4, m1, m2, d1, d2], rest),
        [y1, y2, y3, y4, m1, m2, d1, d2, rest @ ..] => ([y1, y2, y3, y4, m1, m2, d1, d2], rest),
        _ => return None,
    };
    let [y1, y2, y3, y4, m1, m2, d1, d2] = parts.map(|digit| *digit);
    Some(([number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?], rest))
}

/// Hour, minute and second, and the bytes after them.
fn read_clock(bytes: &[u8]) -> Option<([i64; 3], &[u8])> {
    let (parts, rest) = match bytes {
        [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] => ([h1, h2, m1, m2, s1, s2], rest),
        [h1, h2, b':', m1, m2, rest @ ..] | [h1, h2, m1, m2, rest @ ..] if begins_zone(rest) => {
            ([h1, h2, m1, m2, &b'0', &b'0'], rest)
        }
        [h1, h2, m1, m2, s1, s2, rest @ ..] => ([h1, h2, m1, m2, s1, s2], rest),
        _ => return None,
    };
    let [h1, h2, m1, m2, s1, s2] = parts.map(|digit| *digit);
    Some(([number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?], rest))
}

fn begins_zone(rest: &[u8]) -> bool {
    matches!(rest, [b'Z' | b'z' | b'+' | b'-', ..])
}

fn read_fraction(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let Some((b'.' | b',', digits)) = bytes.split_first() else { return Some((0, bytes)) };
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    if !(1..=FRACTION_DIGITS_MAX).contains(&end) {
        return None;
    }
    let (digits, zone) = digits.split_at_checked(end)?;
    let fold = |(value, scale): (u128, u128), digit: &u8| (value * 10 + u128::from(digit - b'0'), scale * 10);
    let (numerator, denominator) = digits.iter().fold((0, 1), fold);
    Some((fraction(numerator, denominator), zone))
}

/// `numerator / denominator`, below one, in 2^-32 parts, rounded down.
fn fraction(numerator: u128, denominator: u128) -> u32 {
    u32::try_from((numerator << 32) / denominator.max(1)).unwrap_or(u32::MAX)
}

fn read_offset_seconds(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match *zone {
        [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, number(&[h1, h2])?, number(&[m1, m2])?),
        [sign, h1, h2] => (sign, number(&[h1, h2])?, 0),
        _ => return None,
    };
    let seconds = hours * 3_600 + minutes * 60;
    match sign {
        b'+' if hours <= 23 && minutes <= 59 => Some(seconds),
        b'-' if hours <= 23 && minutes <= 59 => Some(-seconds),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |value, digit| digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0')))
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, counting years from March so that the leap day comes last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
