//! Output for people: results on standard output, errors on standard error, untrusted text made harmless.

use std::fmt::Write as _;
use std::io::Write as _;

use serde_json::Value;

/// Prints a result. A reader that has gone (`| head`) is no error.
pub(crate) fn print(text: &str) {
    if !is_read(text) {
        tracing::debug!("standard output was closed");
    }
}

/// Prints a result; returns false if the reader is gone.
pub(crate) fn is_read(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    write!(out, "{text}{line_end}").and_then(|()| out.flush()).is_ok()
}

/// Prints without ending the line.
pub(super) fn print_part(text: &str) {
    std::io::stdout().write_all(text.as_bytes()).ok();
}

/// Prints an error. If even that cannot be written, nobody can be told.
pub(super) fn complain(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Prints a value as JSON, for programs.
pub(super) fn print_json(value: &Value) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Rows in columns. The first row holds the titles; numbers stand to the right.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b",.-+%".contains(&byte));
    let shape: Vec<(usize, bool)> = (0..columns)
        .map(|column| {
            let width = rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0);
            let numbers = rows.len() > 1 && rows.iter().skip(1).all(|row| is_number(&cell(row, column)));
            (width, numbers)
        })
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, (width, numbers)) in shape.iter().enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            let cell = cell(row, column);
            let room = " ".repeat(width - cell.chars().count());
            line += &if *numbers { format!("{gap}{room}{cell}") } else { format!("{gap}{cell}{room}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Escapes untrusted text for a terminal: it cannot move the cursor, change colours, or reverse the reading direction.
pub(crate) fn escape(text: &str) -> String {
    escape_bytes(text.as_bytes())
}

/// The same for bytes that may not be text.
pub(super) fn escape_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                hidden if hidden.is_control() || is_invisible(hidden) => {
                    out += &hidden.escape_unicode().to_string();
                }
                shown => out.push(shown),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            write!(out, "\\x{byte:02x}").ok();
        }
    }
    out
}

/// Characters without a shape of their own that change how others are shown.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A count with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && at % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A duration as people write it.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds <= 0.0 => "0 s".to_owned(),
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds if seconds < 10.0 => format!("{seconds:.1} s"),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7_200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        seconds => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// The text for an unknown value.
pub(super) fn dash() -> String {
    "-".to_owned()
}

/// A member of an answer by its path.
pub(super) fn found<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name)).filter(|value| !value.is_null())
}

/// The same as text that is safe to print.
pub(super) fn text(value: &Value, path: &str) -> String {
    found(value, path).and_then(Value::as_str).map_or_else(dash, escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_raw() {
        assert_eq!(escape("a\u{1b}[31mb\u{7}"), "a\\u{1b}[31mb\\u{7}");
        assert_eq!(escape("\u{9b}2J \u{202e}x\u{2066}"), "\\u{9b}2J \\u{202e}x\\u{2066}");
        assert_eq!(escape_bytes(b"\xff\x00\\n\n"), "\\xff\\u{0}\\\\n\\n");
        assert_eq!(escape("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn columns_line_up() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let text = table(&[row(["name", "n"]), row(["ä", "12"]), row(["abcde", "3"])]);
        assert_eq!(text, "name    n\nä      12\nabcde   3\n");
    }

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345_678, "12,345,678")] {
            assert_eq!(grouped(number), text);
        }
    }
}
