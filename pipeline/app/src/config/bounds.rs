//! Numbers and times of the command line of which none at all is a mistake: a limit of nothing shows an empty table, as if
//! there were nothing.

use std::time::Duration;

use super::duration;

/// A number from 1 on.
///
/// # Errors
/// Says what was read.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err(format!("`{text}` is no number from 1 on")),
    }
}

/// A time that is longer than none.
///
/// # Errors
/// Says what was read.
pub fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    if time.is_zero() { Err(format!("`{text}` is no time at all: name a longer one, such as 1h")) } else { Ok(time) }
}
