//! Bodies of successive documents: lines (NDJSON), and JSON that is not written as a line for each document, but close
//! together, with white space between, or indented.
//!
//! A document that cannot be read is refused alone. Reading continues with the next line, or, if the body is not
//! declared as lines, with the next line that begins a document: the lines between belong to the broken one.

use super::{Numbered, emit_parts, read_array, split_array, too_large};
use crate::envelope::{BYTE_ORDER_MARK, Envelope};
use crate::json::{Fault, Kind, Reader};
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};

/// Skips what may stand between documents: white space, byte order marks, and the record separator of RFC 7464.
pub(super) fn begin(text: &str, at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let between = |character| matches!(character, ' ' | '\t' | '\r' | '\n' | '\u{1e}' | BYTE_ORDER_MARK);
    at + rest.len() - rest.trim_start_matches(between).len()
}

/// Splits the documents of a text from a position on. `are_lines`: the body is declared as lines.
pub(super) fn split<'a>(text: &'a str, at: usize, are_lines: bool, limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    let mut stream = Documents { text, are_lines, reread_left: text.len() };
    let mut next = begin(text, at);
    while next < text.len() && !numbered.is_over {
        next = begin(text, stream.one(next, limits, numbered));
    }
}

/// As [`split`], for lines that are not UTF-8 as a whole.
pub(super) fn split_bytes<'a>(body: &'a [u8], limits: &Limits, numbered: &mut Numbered<'_, 'a>) {
    for line in body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        match std::str::from_utf8(line) {
            Ok(line) => split(line, 0, true, limits, numbered),
            Err(error) => {
                let detail = format!("at byte {}", error.valid_up_to());
                numbered.emit(Err(Refusal::new(RefusalReason::InvalidUtf8, detail)));
            }
        }
        if numbered.is_over {
            return;
        }
    }
}

struct Documents<'a> {
    text: &'a str,
    are_lines: bool,
    /// Bytes that may still be read again, because the text of a broken document may hold other documents. Beyond this
    /// a document must end on its line, so that no body is read more than a few times.
    reread_left: usize,
}

impl<'a> Documents<'a> {
    /// Splits the document that begins at `start`; returns where to look for the next.
    fn one(&mut self, start: usize, limits: &Limits, numbered: &mut Numbered<'_, 'a>) -> usize {
        let text = if self.reread_left == 0 { self.line(start) } else { self.text };
        let mut reader = Reader::at(text, start, limits);
        if reader.kind() == Ok(Kind::Array) {
            return match read_array(text, start, limits, &mut |_| true) {
                Ok(end) => {
                    split_array(text, start, limits, numbered);
                    end
                }
                Err(fault) => self.broken(start, fault, numbered),
            };
        }
        let mark = reader.mark();
        let mut envelope = Envelope::default();
        let fault = match envelope.read(&mut reader, limits) {
            Ok(()) => {
                emit_parts(envelope, limits, numbered);
                return reader.position();
            }
            Err(fault) => fault,
        };
        if fault.reason == RefusalReason::NotJson || reader.pass_over(mark).is_err() {
            return self.broken(start, fault, numbered);
        }
        let length = reader.position() - start;
        numbered.emit(Err(if length > limits.record_bytes_max {
            too_large(length, limits)
        } else {
            within_document(fault, start)
        }));
        reader.position()
    }

    /// Refuses a document whose end is not known.
    fn broken(&mut self, start: usize, fault: Fault, numbered: &mut Numbered<'_, 'a>) -> usize {
        numbered.emit(Err(within_document(fault, start)));
        let read = if fault.reason == RefusalReason::NotJson { fault.at } else { self.text.len() };
        self.reread_left = self.reread_left.saturating_sub(read.saturating_sub(start));
        let rest = self.text.get(start..).unwrap_or_default();
        let begins = |behind: &str| self.are_lines || behind.starts_with(['{', '[']);
        let next = rest.match_indices('\n').map(|(at, _)| start + at + 1);
        next.into_iter().find(|next| begins(self.text.get(*next..).unwrap_or_default())).unwrap_or(self.text.len())
    }

    /// The text up to the end of the line of a position.
    fn line(&self, at: usize) -> &'a str {
        let rest = self.text.get(at..).unwrap_or_default();
        let end = rest.find('\n').map_or(self.text.len(), |length| at + length);
        self.text.get(..end).unwrap_or_default()
    }
}

/// The fault with its place in the document, not in the body.
fn within_document(fault: Fault, start: usize) -> Refusal {
    Fault { at: fault.at.saturating_sub(start), ..fault }.into()
}
