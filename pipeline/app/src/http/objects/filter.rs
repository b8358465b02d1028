//! Which objects a request selects, checked before the database is asked.

use millstream_schemas::objects::Order;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::http::access::Access;
use crate::http::problem::Problem;
use crate::time::utc_of_order;

/// Maximum bytes of `metadata`: a containment test looks up each name and value in the index.
const METADATA_BYTES_MAX: usize = 8 << 10;

/// The parameters that select objects. Names and meaning are those of the documentation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    pub(super) store: Option<String>,
    pub(super) prefix: String,
    pub(super) metadata: Option<String>,
    pub(super) size_min: Option<i64>,
    pub(super) size_max: Option<i64>,
    pub(super) modified_after: Option<String>,
    pub(super) modified_before: Option<String>,
    pub(super) versions: bool,
    pub(super) limit: Option<i64>,
    pub(super) cursor: Option<String>,
}

/// Objects of one bucket.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) store: String,
    pub(super) bucket: String,
    pub(super) prefix: String,
    /// The first key after all that have the prefix; `None` if every later key has it.
    pub(super) prefix_end: Option<String>,
    pub(super) metadata: Option<String>,
    pub(super) size_min: Option<i64>,
    pub(super) size_max: Option<i64>,
    pub(super) modified_after: Option<String>,
    pub(super) modified_before: Option<String>,
}

impl Filter {
    /// Takes the filter out of the parameters.
    pub(super) fn new(
        parameters: &mut Parameters,
        bucket: String,
        access: &Access,
        store: &str,
    ) -> Result<Self, Problem> {
        let store = access.store(parameters.store.take())?.unwrap_or_else(|| store.to_owned());
        let prefix = access.prefix(&store, &bucket, std::mem::take(&mut parameters.prefix))?;
        let mut filter = Filter {
            store,
            bucket,
            prefix_end: prefix_end(&prefix),
            prefix,
            metadata: parameters.metadata.take(),
            size_min: parameters.size_min,
            size_max: parameters.size_max,
            modified_after: parameters.modified_after.take(),
            modified_before: parameters.modified_before.take(),
        };
        no_nul("bucket", &filter.bucket)?;
        no_nul("prefix", &filter.prefix)?;
        filter.metadata.as_deref().map(check_metadata).transpose()?;
        filter.modified_after.as_deref().map(|time| check_time("modified_after", time)).transpose()?;
        filter.modified_before.as_deref().map(|time| check_time("modified_before", time)).transpose()?;
        filter.modified_after = filter.modified_after.map(rounded);
        filter.modified_before = filter.modified_before.map(rounded);
        Ok(filter)
    }

    /// Whether every object of the bucket, or of the prefix, is selected.
    pub(super) fn is_everything(&self) -> bool {
        let conditions = [&self.metadata, &self.modified_after, &self.modified_before];
        conditions.iter().all(|condition| condition.is_none()) && self.size_min.is_none() && self.size_max.is_none()
    }
}

/// Text with a NUL cannot be in the database, nor be asked for.
pub(super) fn no_nul(name: &str, text: &str) -> Result<(), Problem> {
    if text.contains('\0') {
        return Err(Problem::bad_request(format!("{name} has a NUL, which no object has")));
    }
    Ok(())
}

fn check_metadata(text: &str) -> Result<(), Problem> {
    let example = "metadata is a JSON object such as {\"stage\":\"raw\"}, percent-encoded";
    if text.len() > METADATA_BYTES_MAX {
        return Err(Problem::bad_request(format!("metadata has more than {METADATA_BYTES_MAX} bytes")));
    }
    // An array or a bare value would be contained in nothing.
    let is_object = text.trim_start().starts_with('{');
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) if is_object => Ok(()),
        Ok(_) => Err(Problem::bad_request(example)),
        Err(error) => Err(Problem::bad_request(format!("{example}: {error}"))),
    }
}

/// Accepts only what begins like a date: the database would also take `yesterday`, in its own time zone.
fn check_time(name: &str, text: &str) -> Result<(), Problem> {
    let date = text.as_bytes().get(..10).unwrap_or_default();
    let is_date = date.len() == 10
        && date
            .iter()
            .enumerate()
            .all(|(at, byte)| if at == 4 || at == 7 { *byte == b'-' } else { byte.is_ascii_digit() });
    let allowed =
        |byte: u8| byte.is_ascii_digit() || matches!(byte, b'T' | b't' | b'Z' | b'z' | b':' | b'.' | b'+' | b'-');
    if !is_date || text.len() > 40 || !text.bytes().all(allowed) {
        return Err(Problem::bad_request(format!(
            "{name}: write 2026-01-31 or 2026-01-31T12:00:00Z; a `+` must be sent as %2B"
        )));
    }
    Ok(())
}

/// Rounds a bound as shown times are rounded: so the exact time of an event is on the same side as the shown one. A
/// text that is no time of an object is left to the database.
fn rounded(time: String) -> String {
    let placed = Order::place(Some(&time), None, i64::MAX).ok().and_then(|order| utc_of_order(order.time_key()));
    placed.unwrap_or(time)
}

/// The smallest text that is larger than everything that begins with the prefix. Keys are compared byte by byte, and
/// UTF-8 sorts like its characters.
pub(super) fn prefix_end(prefix: &str) -> Option<String> {
    let mut end: Vec<char> = prefix.chars().collect();
    while let Some(last) = end.pop() {
        // The next character: ranges of characters leave out the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            end.push(next);
            return Some(end.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_before_the_end_exactly_if_it_has_the_prefix_or_is_smaller(prefix in "\\PC{0,4}", key in "\\PC{0,6}", has in any::<bool>()) {
            let key = if has { format!("{prefix}{key}") } else { key };
            let inside = key.as_str() >= prefix.as_str() && prefix_end(&prefix).is_none_or(|end| key < end);
            prop_assert_eq!(inside, key.starts_with(&prefix));
        }
    }

    #[test]
    fn ends_skip_what_is_no_character() {
        assert_eq!(prefix_end("a/"), Some("a0".to_owned()));
        assert_eq!(prefix_end("a\u{d7ff}"), Some("a\u{e000}".to_owned()));
        assert_eq!(prefix_end("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(prefix_end("\u{10ffff}"), None);
        assert_eq!(prefix_end(""), None);
    }

    #[test]
    fn a_bound_is_rounded_as_the_times_that_are_shown() {
        for (asked, bound) in [
            ("2026-11-29T10:00:00.412Z", "2026-11-29T10:00:00.412000Z"),
            ("2026-11-29T12:00:00.4123455+02:00", "2026-11-29T10:00:00.412345Z"),
            ("2026-11-29T10:00:00.999999999Z", "2026-11-29T10:00:00.999999Z"),
            ("2026-11-29", "2026-11-29"),
            ("1960-01-01T00:00:00Z", "1960-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00.5Z", "1970-01-01T00:00:00.5Z"),
            ("2200-01-01T00:00:00Z", "2200-01-01T00:00:00Z"),
        ] {
            assert_eq!(rounded(asked.to_owned()), bound);
        }
    }

    #[test]
    fn times_and_metadata_are_checked() {
        for good in ["2026-01-31", "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5+02:00"] {
            assert!(check_time("t", good).is_ok(), "{good}");
        }
        for bad in ["", "yesterday", "infinity", "2026-1-31", "2026-01-31 12:00", "2026-01-31T12:00:00 UTC"] {
            assert!(check_time("t", bad).is_err(), "{bad}");
        }
        assert!(check_metadata("{\"a\":\"b\"}").is_ok());
        for bad in ["", "[]", "\"a\"", "{", "{\"a\":1}}", "{a:1}"] {
            assert!(check_metadata(bad).is_err(), "{bad}");
        }
        assert!(check_metadata(&format!("{{\"a\":\"{}\"}}", "x".repeat(METADATA_BYTES_MAX))).is_err());
    }
}
