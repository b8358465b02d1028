//! The terminal as a whole screen: never more rows than it has, never a row that is wider.
//!
//! A terminal counts rows, not lines: a line that is wider than the screen takes several, and a program that counts
//! lines draws over the wrong ones. So each frame is laid out for the present size of the terminal, and each row is put
//! where it belongs. The alternate screen is used, so that nothing of it is left at the end.

use std::io::Write as _;

use rustix::termios::tcgetwinsize;

use crate::cli::screen::escape;

/// The size of a terminal that does not report one.
const SIZE_UNKNOWN: Size = Size { columns: 80, rows: 24 };
/// The width of the names of figures, where the terminal has room for them.
const LABEL: usize = 14;
/// Indent of keys in a second row: below the first of them.
const KEYS_INDENT: usize = 6;
/// From this width on, values stand in a column of their own.
const LABELS_FROM: usize = 40;
/// Maximum rows of a figure: a reason may be a long sentence with a command or two, and the others must stay in sight.
const FIGURE_ROWS_MAX: usize = 5;
/// Rows that stay free for where things are, while notes take the rest.
const PLACES_MIN: usize = 2;

/// Columns and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    columns: usize,
    rows: usize,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) title: String,
    /// Name and value; they are never left out.
    pub(super) figures: Vec<(&'static str, String)>,
    /// What a key does, key first. Empty without a keyboard.
    pub(super) keys: Vec<&'static str>,
    /// The oldest first; the newest are shown.
    pub(super) notes: Vec<String>,
    /// Where things are, and lines to paste, the most important first: those that fit are shown.
    pub(super) places: Vec<String>,
}

/// A part of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// One row.
    Row(String),
    /// One line over several rows, which the terminal itself wraps, so that a copy of it is one line.
    Line(String, usize),
}

/// The screen, as long as this is there.
#[derive(Debug)]
pub(super) struct Terminal {
    shown: Option<Size>,
}

impl Terminal {
    /// Leaves what is on the terminal alone, and starts with an empty alternate screen.
    pub(super) fn enter() -> Terminal {
        write("\x1b[?1049h\x1b[?25l");
        Terminal { shown: None }
    }

    /// Shows a view in the size that the terminal has now.
    pub(super) fn draw(&mut self, view: &View) {
        let size = Size::now();
        let mut text = String::new();
        if self.shown.replace(size) != Some(size) {
            text.push_str("\x1b[2J");
        }
        text += &paint(&layout(view, size), size);
        write(&text);
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        write("\x1b[?7h\x1b[?25h\x1b[?1049l");
    }
}

/// If the terminal is gone, the screen is lost, but the demo goes on.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}

impl Size {
    fn now() -> Size {
        match tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => SIZE_UNKNOWN,
        }
    }
}

/// What fits, from top to bottom. Figures and keys come first, then the newest notes, then where things are.
fn layout(view: &View, size: Size) -> Vec<Piece> {
    let columns = size.columns.max(1);
    let figures: Vec<String> = view.figures.iter().flat_map(|figure| of_figure(figure, columns)).collect();
    let keys = wrap(&view.keys.join("  "), columns, KEYS_INDENT);
    let mut left = size.rows.saturating_sub(figures.len() + keys.len());
    let title = !view.title.is_empty() && take(&mut left, 2);
    let mut notes: Vec<Vec<String>> = Vec::new();
    for note in view.notes.iter().rev() {
        let rows = wrap(&escape(note), columns.saturating_sub(2), 0);
        let reserve = if notes.is_empty() { 0 } else { PLACES_MIN };
        if left < rows.len() + reserve {
            break;
        }
        left -= rows.len();
        notes.push(rows);
    }
    let mut places = Vec::new();
    for place in &view.places {
        let line = escape_places(place);
        let rows = cells(&line).div_ceil(columns).max(1);
        if !take(&mut left, rows) {
            break;
        }
        places.push(Piece::Line(line, rows));
    }
    let mut gap = |pieces: &mut Vec<Piece>| {
        if take(&mut left, 1) {
            pieces.push(Piece::Row(String::new()));
        }
    };
    let mut pieces = Vec::new();
    if title {
        pieces.push(Piece::Row(cut(&escape(&view.title), columns)));
        pieces.push(Piece::Row(String::new()));
    }
    pieces.extend(figures.into_iter().map(Piece::Row));
    if !keys.is_empty() {
        gap(&mut pieces);
        pieces.extend(keys.into_iter().map(Piece::Row));
    }
    pieces.extend(notes.into_iter().rev().flatten().map(|row| Piece::Row(format!("  {row}"))));
    if !places.is_empty() {
        gap(&mut pieces);
        pieces.extend(places);
    }
    // A terminal of five rows: what does not fit is left out.
    pieces.truncate(size.rows);
    pieces
}

fn take(left: &mut usize, rows: usize) -> bool {
    let fits = *left >= rows;
    if fits {
        *left -= rows;
    }
    fits
}

/// Lines to paste keep their backslashes; a control character has no place in them either.
fn escape_places(text: &str) -> String {
    text.chars().map(|one| if one.is_control() { '?' } else { one }).collect()
}

fn of_figure((name, value): &(&'static str, String), columns: usize) -> Vec<String> {
    let value = escape(value);
    let mut rows = if columns >= LABELS_FROM {
        let mut rows = wrap(&value, columns - LABEL, 0);
        for (at, row) in rows.iter_mut().enumerate() {
            *row = format!("{:<LABEL$}{row}", if at == 0 { *name } else { "" });
        }
        rows
    } else {
        wrap(&format!("{name} {value}"), columns, 1)
    };
    rows.truncate(FIGURE_ROWS_MAX);
    rows
}

/// Rows of at most `columns` columns, broken between words; those after the first are indented.
fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let columns = columns.max(1);
    let indent = " ".repeat(if indent + 1 < columns { indent } else { 0 });
    let mut rows: Vec<String> = Vec::new();
    let mut row = String::new();
    for word in text.split_inclusive(' ') {
        if !row.trim().is_empty() && cells(&row) + cells(word.trim_end()) > columns {
            rows.push(row.trim_end().to_owned());
            row = indent.clone();
        }
        for one in word.chars() {
            if cells(&row) + width(one) > columns {
                rows.push(std::mem::replace(&mut row, indent.clone()));
                if one == ' ' || width(one) + cells(&row) > columns {
                    continue;
                }
            }
            row.push(one);
        }
    }
    if !row.trim().is_empty() {
        rows.push(row.trim_end().to_owned());
    }
    rows
}

/// The beginning of a text that fits.
fn cut(text: &str, columns: usize) -> String {
    let mut room = columns;
    let fits = |one: &char| {
        let fits = width(*one) <= room;
        room = room.saturating_sub(width(*one));
        fits
    };
    text.chars().take_while(fits).collect()
}

fn cells(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Columns of a character, rather too many than too few: scripts whose signs take two begin with Hangul.
fn width(one: char) -> usize {
    if one < '\u{1100}' { 1 } else { 2 }
}

/// The bytes that put each piece where it belongs. A row is cleared before it is written: after a full one the
/// terminal has not moved on yet, and clearing would take its last character away.
fn paint(pieces: &[Piece], size: Size) -> String {
    let mut text = String::new();
    let mut row = 1;
    for piece in pieces {
        match piece {
            // Should the terminal have become narrower just now, the row is cut by it and not wrapped.
            Piece::Row(line) => {
                text += &format!("\x1b[{row};1H\x1b[2K\x1b[?7l{line}\x1b[?7h");
                row += 1;
            }
            Piece::Line(line, rows) => {
                let cleared: String = (row..row + rows).map(|row| format!("\x1b[{row};1H\x1b[2K")).collect();
                text += &format!("{cleared}\x1b[{row};1H{line}");
                row += rows;
            }
        }
    }
    if row <= size.rows {
        text += &format!("\x1b[{row};1H\x1b[J");
    }
    text
}

#[cfg(test)]
mod tests;
