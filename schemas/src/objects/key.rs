//! Object keys and tags as notifications encode them.

use std::borrow::Cow;

use crate::refusal::{Refusal, RefusalReason};

/// Decodes a key that an S3 notification carries form-encoded: `+` is a space, `%XX` a byte.
///
/// A key that no form encoder can have written (a byte beyond ASCII, a space, a `%` without two digits) comes from a
/// store that does not encode, and is taken unchanged.
///
/// # Errors
/// `invalid_utf8` when the bytes are no text, `nul_in_text` when one is zero.
pub(crate) fn decode_key(encoded: Cow<'_, str>) -> Result<Cow<'_, str>, Refusal> {
    let special = |byte: u8| matches!(byte, b'%' | b'+') || !byte.is_ascii_graphic();
    if !encoded.bytes().any(special) {
        return Ok(encoded);
    }
    let Some(bytes) = decode_form(encoded.as_bytes()) else { return Ok(encoded) };
    let key = String::from_utf8(bytes)
        .map_err(|_| Refusal::new(RefusalReason::InvalidUtf8, "the decoded object key is not UTF-8"))?;
    if key.contains('\0') {
        return Err(Refusal::new(RefusalReason::NulInText, "the object key holds a NUL"));
    }
    Ok(Cow::Owned(key))
}

/// Form-encoded text, decoded; `None` when it is not form-encoded, no UTF-8, or holds a NUL.
pub(crate) fn decode_form_text(encoded: &str) -> Option<String> {
    String::from_utf8(decode_form(encoded.as_bytes())?).ok().filter(|text| !text.contains('\0'))
}

/// The bytes of form-encoded text; `None` when it is not.
fn decode_form(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => (hex(*rest.next()?)? << 4) | hex(*rest.next()?)?,
            plain if plain.is_ascii_graphic() => plain,
            _ => return None,
        });
    }
    Some(bytes)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}
