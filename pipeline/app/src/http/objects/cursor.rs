//! Where a list goes on: after a row of the key order, named by itself. Rows that come or go meanwhile neither repeat
//! nor hide others, because no position is counted.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::http::problem::Problem;

/// Maximum bytes: keys and versions have at most 1,024 bytes each, which JSON may write six times as long.
const BYTES_MAX: usize = 32 << 10;

/// The row after which to go on.
#[derive(Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Cursor {
    pub(super) store: String,
    pub(super) bucket: String,
    #[serde(default)]
    pub(super) key: String,
    #[serde(default)]
    pub(super) version_id: String,
}

impl Cursor {
    /// As text for an address. Opaque: clients give it back as it is.
    pub(super) fn write(&self) -> Option<String> {
        Some(URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).ok()?))
    }

    pub(super) fn read(text: &str) -> Result<Cursor, Problem> {
        let bytes = (text.len() <= BYTES_MAX).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        let cursor: Option<Cursor> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let has_nul = |cursor: &Cursor| {
            [&cursor.store, &cursor.bucket, &cursor.key, &cursor.version_id].iter().any(|text| text.contains('\0'))
        };
        let cursor = cursor.filter(|cursor| !has_nul(cursor));
        cursor.ok_or_else(|| {
            Problem::bad_request("cursor: give back `next` of the previous answer as it was, or nothing")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_nothing_else_is_taken() {
        let cursor =
            Cursor { store: "s".into(), bucket: "b".into(), key: "ä/\"\n+ ".into(), version_id: String::new() };
        let text = cursor.write().unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'), "{text}");
        assert_eq!(Cursor::read(&text).unwrap(), cursor);
        for bad in ["", "!", "e30", &text[1..], &"A".repeat(BYTES_MAX + 1)] {
            assert!(Cursor::read(bad).is_err(), "{bad}");
        }
        let nul = Cursor { key: "\0".into(), ..cursor };
        assert!(Cursor::read(&nul.write().unwrap()).is_err());
    }
}
