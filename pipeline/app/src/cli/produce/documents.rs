//! JSON documents of a file: one a line, several on a line, or each over many lines.
//!
//! A document that never ends delays no other: its first line is sent as it is, to be refused by name, and reading goes
//! on with the next line. A document has at most the bytes of a request, so no file takes more memory.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use serde::de::IgnoredAny;

/// Some editors begin a file with it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How gzip begins, whatever the file is called.
const GZIP: &[u8] = b"\x1f\x8b";

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// A document on one line, or a line that is no document, with the number of the line where it began.
    Document(u64, Vec<u8>),
    /// A line that is longer than a request; it was passed over.
    TooLong(u64),
    End,
}

/// A line and its number.
type Numbered = (u64, Vec<u8>);

/// Reads documents.
pub(super) struct Documents {
    input: Box<dyn BufRead>,
    bytes_max: usize,
    /// Lines that were read.
    lines: u64,
    /// Lines to be looked at again, before more are read.
    again: VecDeque<Numbered>,
    /// Documents that are whole.
    whole: VecDeque<Numbered>,
    /// The lines of one that is not.
    open: Vec<Numbered>,
    open_bytes: usize,
    depth: usize,
}

impl Documents {
    /// Of a file, unpacked if it is gzip.
    ///
    /// # Errors
    /// Of reading its beginning.
    pub(super) fn of(input: impl Read + 'static, bytes_max: usize) -> io::Result<Documents> {
        let mut packed = BufReader::new(input);
        let is_gzip = packed.fill_buf()?.starts_with(GZIP);
        let mut input: Box<dyn BufRead> =
            if is_gzip { Box::new(BufReader::new(MultiGzDecoder::new(packed))) } else { Box::new(packed) };
        if input.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
            input.consume(BYTE_ORDER_MARK.len());
        }
        let again = VecDeque::new();
        let whole = VecDeque::new();
        let open = Vec::new();
        Ok(Documents { input, bytes_max, lines: 0, again, whole, open, open_bytes: 0, depth: 0 })
    }

    /// The next document.
    ///
    /// # Errors
    /// Of reading.
    pub(super) fn next(&mut self) -> io::Result<Next> {
        loop {
            if let Some((number, document)) = self.whole.pop_front() {
                return Ok(Next::Document(number, document));
            }
            let (number, line) = match self.again.pop_front() {
                Some(numbered) => numbered,
                None => {
                    let mut line = Vec::new();
                    let read = read_line(&mut self.input, &mut line, self.bytes_max)?;
                    self.lines += 1;
                    match read {
                        Line::Whole => (self.lines, line),
                        Line::TooLong if self.open.is_empty() => return Ok(Next::TooLong(self.lines)),
                        Line::End if self.open.is_empty() => return Ok(Next::End),
                        // Seen again once what is open is settled: an end is met again, and so is a long line.
                        Line::End => {
                            self.lines -= 1;
                            self.give_up(None);
                            continue;
                        }
                        Line::TooLong => {
                            self.give_up(None);
                            return Ok(Next::TooLong(self.lines));
                        }
                    }
                }
            };
            if self.open.is_empty() {
                self.begin(number, line.trim_ascii());
            } else {
                self.go_on(number, line);
            }
        }
    }

    /// Looks at a line on which nothing is open.
    fn begin(&mut self, number: u64, mut line: &[u8]) {
        while let Some(first) = line.first() {
            if !b"{[".contains(first) {
                return self.whole.push_back((number, line.to_vec()));
            }
            match end(line, 0) {
                End::At(at) => {
                    let (document, rest) = line.split_at(at);
                    self.whole.push_back((number, document.to_vec()));
                    line = rest.trim_ascii_start();
                }
                End::Later(depth) => {
                    self.depth = depth;
                    self.open_bytes = line.len();
                    return self.open.push((number, line.to_vec()));
                }
                End::Never => return self.whole.push_back((number, line.to_vec())),
            }
        }
    }

    /// Looks at a line that belongs to the document that is open, unless that never was one.
    fn go_on(&mut self, number: u64, line: Vec<u8>) {
        let text = line.trim_ascii();
        let before = self.open.last().and_then(|(_, line)| line.trim_ascii_end().last().copied());
        // Else a value begins where none can: the line before was cut off.
        let begins = text.first().is_some_and(|first| b"{[".contains(first));
        let fits = !begins || before.is_none_or(|before| b"[,:".contains(&before));
        let ends = if fits { end(text, self.depth) } else { End::Never };
        match ends {
            End::At(at) => {
                let (last, rest) = text.split_at(at);
                let mut document = Vec::with_capacity(self.open_bytes + last.len());
                for (_, line) in &self.open {
                    document.extend_from_slice(line);
                    document.push(b' ');
                }
                document.extend_from_slice(last);
                if serde_json::from_slice::<IgnoredAny>(&document).is_err() {
                    return self.give_up(Some((number, line)));
                }
                self.again.push_front((number, rest.to_vec()));
                let first = self.open.first().map_or(number, |(first, _)| *first);
                self.whole.push_back((first, document));
                self.open.clear();
            }
            End::Later(depth) if self.open_bytes + text.len() < self.bytes_max => {
                self.depth = depth;
                self.open_bytes += text.len() + 1;
                self.open.push((number, text.to_vec()));
            }
            End::Later(_) | End::Never => self.give_up(Some((number, line))),
        }
    }

    /// Returns the first line of the open document as it is, and reads the others again.
    fn give_up(&mut self, last: Option<Numbered>) {
        let mut lines = std::mem::take(&mut self.open).into_iter().chain(last);
        self.whole.extend(lines.next());
        for (at, line) in lines.enumerate() {
            self.again.insert(at, line);
        }
    }
}

/// Where a document ends on a line.
enum End {
    /// Before this byte.
    At(usize),
    /// On a later line; this number of brackets is open.
    Later(usize),
    /// Nowhere: a line ends within a text.
    Never,
}

fn end(line: &[u8], mut depth: usize) -> End {
    let mut in_text = false;
    let mut escaped = false;
    for (at, byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return End::At(at + 1);
                }
            }
            _ => {}
        }
    }
    if in_text { End::Never } else { End::Later(depth) }
}

enum Line {
    Whole,
    /// It was passed over.
    TooLong,
    End,
}

/// Reads a line of bounded length.
fn read_line(input: &mut dyn BufRead, line: &mut Vec<u8>, bytes_max: usize) -> io::Result<Line> {
    line.clear();
    let mut too_long = false;
    let mut any = false;
    loop {
        let buffer = input.fill_buf()?;
        if buffer.is_empty() {
            return Ok(if !any {
                Line::End
            } else if too_long {
                Line::TooLong
            } else {
                Line::Whole
            });
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        too_long |= line.len() + part.len() > bytes_max;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = end.map_or(buffer.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn read(bytes: &[u8], bytes_max: usize) -> Vec<String> {
        let mut documents = Documents::of(io::Cursor::new(bytes.to_vec()), bytes_max).unwrap();
        let mut read = Vec::new();
        loop {
            match documents.next().unwrap() {
                Next::Document(line, text) => read.push(format!("{line}: {}", String::from_utf8(text).unwrap())),
                Next::TooLong(line) => read.push(format!("{line}: too long")),
                Next::End => return read,
            }
        }
    }

    #[test]
    fn documents_are_found_however_they_lie() {
        for (text, found) in [
            ("{\"a\":1}\n\n{\"a\":2}\n", &["1: {\"a\":1}", "3: {\"a\":2}"][..]),
            ("{\"a\":1} {\"a\":2}[3]\r\n", &["1: {\"a\":1}", "1: {\"a\":2}", "1: [3]"]),
            ("{\n  \"a\": [\n    {}\n  ]\n}\n{\n}", &["1: { \"a\": [ {} ] }", "6: { }"]),
            ("[\n1,\n2\n] {\"b\":\n3}", &["1: [ 1, 2 ]", "4: {\"b\": 3}"]),
            ("{\"a\":\"}\\\"{\"}\n", &["1: {\"a\":\"}\\\"{\"}"]),
            ("\u{feff}{\"a\":1}", &["1: {\"a\":1}"]),
            ("no json\n{\"a\":1} more\n", &["1: no json", "2: {\"a\":1}", "2: more"]),
            ("", &[]),
        ] {
            assert_eq!(read(text.as_bytes(), 100), found, "{text:?}");
        }
    }

    /// A file of one document a line, some of them cut off: each of the others is found.
    #[test]
    fn one_that_never_ends_holds_up_no_other() {
        for cut in ["{\"a\":1", "{\"a\":\"x", "{\"a\":", "{\"a\":[1,", "{\"a\":[1,{\"b\":2}"] {
            let text = format!("{cut}\n{{\"a\":2}}\n{{\"a\":3}}\n");
            let found = read(text.as_bytes(), 1000);
            assert_eq!(found, [format!("1: {cut}"), "2: {\"a\":2}".to_owned(), "3: {\"a\":3}".to_owned()], "{cut}");
        }
        let long = format!("{{\n{}}}\n{{}}", "\"a\":1,\n".repeat(100));
        let found = read(long.as_bytes(), 200);
        assert_eq!((found[0].as_str(), found.last().unwrap().as_str()), ("1: {", "103: {}"));
    }

    #[test]
    fn a_line_has_a_limit() {
        let text = b"{\"a\":1}\n{\"a\":\"longer than that\"}\n{\"a\":2}";
        assert_eq!(read(text, 12), ["1: {\"a\":1}", "2: too long", "3: {\"a\":2}"]);
    }

    #[test]
    fn gzip_is_known_by_its_first_bytes() {
        let pack = |text: &[u8]| {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(text).unwrap();
            packer.finish().unwrap()
        };
        // As `cat a.gz b.gz` makes it.
        let packed = [pack(b"\xef\xbb\xbf{\"a\":1}\n"), pack(b"{\"a\":2}")].concat();
        assert_eq!(read(&packed, 100), ["1: {\"a\":1}", "2: {\"a\":2}"]);
    }
}
