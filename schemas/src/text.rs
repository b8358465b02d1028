//! Text rules: JSON text as tables store it, and names that are only counted.

use std::borrow::Cow;

/// Maximum bytes of a name that is only counted; longer ones are cut, because each distinct name is a label.
const NAME_BYTES_MAX: usize = 128;

/// Appends `text` as a JSON string.
pub(crate) fn push_json(json: &mut String, text: &str) {
    json.push('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\0'..='\u{1f}' => {
                const DIGITS: [char; 16] =
                    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
                let code = character as usize;
                json.push_str("\\u00");
                json.extend([code >> 4, code & 15].into_iter().filter_map(|digit| DIGITS.get(digit)));
            }
            plain => json.push(plain),
        }
    }
    json.push('"');
}

/// A name fit to be counted by: short and without control characters.
pub(crate) fn name_to_count(name: Cow<'_, str>) -> Cow<'_, str> {
    if name.len() <= NAME_BYTES_MAX && !name.contains(char::is_control) {
        return name;
    }
    let end = name.floor_char_boundary(NAME_BYTES_MAX);
    let kept = name.get(..end).unwrap_or_default();
    Cow::Owned(kept.chars().map(|character| if character.is_control() { '?' } else { character }).collect())
}
