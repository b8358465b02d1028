//! JSON strings: finding their end eight bytes at a time, and resolving escapes.

use std::borrow::Cow;

use crate::refusal::RefusalReason;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Finds the end of the string whose first byte is at `start`: the position after the closing quote, and whether there
/// are escapes. The error is the position of the fault.
#[inline]
pub(super) fn end(bytes: &[u8], start: usize) -> Result<(usize, bool), usize> {
    let mut position = start;
    let mut escaped = false;
    loop {
        position = next_special(bytes, position);
        match bytes.get(position) {
            Some(b'"') => return Ok((position + 1, escaped)),
            Some(b'\\') => {
                escaped = true;
                position += escape_length(bytes.get(position + 1..).unwrap_or_default()).ok_or(position)?;
            }
            _ => return Err(position),
        }
    }
}

/// The text of a string without its quotes, escapes resolved. `end` has checked that they are well formed.
pub(crate) fn unescape(raw: &str) -> Result<Cow<'_, str>, RefusalReason> {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, behind)) = rest.split_once('\\') {
        text.push_str(plain);
        let mut characters = behind.chars();
        text.push(match characters.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (character, length) = unicode_escape(characters.as_str())?;
                characters = characters.as_str().get(length..).unwrap_or_default().chars();
                character
            }
            Some(other) => other,
            None => return Err(RefusalReason::NotJson),
        });
        rest = characters.as_str();
    }
    text.push_str(rest);
    Ok(Cow::Owned(text))
}

/// The character written as `XXXX` or as a pair `XXXX\uXXXX`, and the bytes that it takes.
fn unicode_escape(text: &str) -> Result<(char, usize), RefusalReason> {
    let unit = |start: usize| text.get(start..start + 4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let first = unit(0).ok_or(RefusalReason::NotJson)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, 4));
    }
    let second = if text.get(4..6) == Some("\\u") { unit(6) } else { None };
    match (first, second) {
        (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) => {
            let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            char::from_u32(code).map(|character| (character, 10)).ok_or(RefusalReason::LoneSurrogate)
        }
        _ => Err(RefusalReason::LoneSurrogate),
    }
}

/// Bytes of the escape whose backslash stands before `rest`; `None` when it is not one.
fn escape_length(rest: &[u8]) -> Option<usize> {
    match rest {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'u', digits @ ..] => digits.get(..4)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// The first quote, backslash or control byte at or after `position`, or the end of the bytes.
#[inline]
fn next_special(bytes: &[u8], mut position: usize) -> usize {
    while let Some(chunk) = bytes.get(position..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        // A borrow can only disturb bytes above a true hit, so the lowest marked byte is always a real one.
        let marked =
            (below_space(word) | zero(word ^ (ONES * b'"' as u64)) | zero(word ^ (ONES * b'\\' as u64))) & HIGHS;
        if marked != 0 {
            return position + (marked.trailing_zeros() / 8) as usize;
        }
        position += 8;
    }
    let tail = bytes.get(position..).unwrap_or_default();
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    position + tail.iter().position(special).unwrap_or(tail.len())
}

/// Marks, in the high bit, bytes that are zero.
const fn zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word
}

/// Marks, in the high bit, bytes below 0x20.
const fn below_space(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word
}
