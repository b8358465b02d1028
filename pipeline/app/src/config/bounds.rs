//! Numbers and times of the command line that must not be zero: a limit of zero shows an empty table, as if there were
//! nothing.

use std::time::Duration;

use super::duration;

/// Parses a number from 1 on.
///
/// # Errors
/// Names the text.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(format!("`{text}` is no number from 1 on")),
    }
}

/// Parses a time longer than zero.
///
/// # Errors
/// Names the text.
pub fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    if time.is_zero() { Err(format!("`{text}` is no time at all: name a longer one, such as 1h")) } else { Ok(time) }
}
