//! A reader of JSON text (RFC 8259) that reads the bytes once, checks the limits on the way, copies only strings with
//! escapes, and stops at the first fault. It allocates nothing for skipped values.

mod string;

use std::borrow::Cow;

pub(crate) use string::unescape;

use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};

/// The hard limit of nesting, whatever is configured: a level costs a few hundred bytes of stack.
const DEPTH_MAX: usize = 128;

/// Where reading stopped, and why. Small, because every call returns one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: RefusalReason,
    pub(crate) at: usize,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::new(fault.reason, format!("at byte {}", fault.at))
    }
}

/// The type of the next value, known from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    Number,
    Literal,
    Null,
}

/// A place in a text, between two values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    position: usize,
    depth: usize,
}

/// A cursor over one JSON text.
#[derive(Debug)]
pub(crate) struct Reader<'a, 'l> {
    text: &'a str,
    position: usize,
    depth: usize,
    limits: &'l Limits,
}

impl<'a, 'l> Reader<'a, 'l> {
    pub(crate) fn new(text: &'a str, limits: &'l Limits) -> Self {
        Self::at(text, 0, limits)
    }

    /// A reader that begins at a position.
    pub(crate) fn at(text: &'a str, position: usize, limits: &'l Limits) -> Self {
        Self { text, position, depth: 0, limits }
    }

    /// The current position.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The text between an earlier position and this one.
    pub(crate) fn since(&self, mark: Mark) -> &'a str {
        self.text.get(mark.position..self.position).unwrap_or_default()
    }

    /// The type of the next value.
    #[inline]
    pub(crate) fn kind(&mut self) -> Result<Kind, Fault> {
        match self.peek() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Literal),
            Some(b'n') => Ok(Kind::Null),
            _ => Err(self.fault(RefusalReason::NotJson)),
        }
    }

    /// Reads an object; `member` is called after each name and must read or skip exactly its value.
    #[inline]
    pub(crate) fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<(), Fault>) -> Result<(), Fault> {
        self.members(|reader, (raw, escaped)| {
            // A name with half a surrogate pair is no name that we look for.
            let name = if escaped { unescape(raw).unwrap_or_default() } else { Cow::Borrowed(raw) };
            member(reader, &name)
        })
    }

    /// As [`Self::object`], with each name as [`Self::text`] gives it.
    #[inline]
    pub(crate) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, (&'a str, bool)) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.open(b'{')?;
        if !self.take(b'}') {
            let mut count = 0;
            loop {
                count += 1;
                if count > self.limits.json_keys_max {
                    return Err(self.fault(RefusalReason::JsonTooManyKeys));
                }
                let name = self.text()?;
                self.expect(b':')?;
                member(self, name)?;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b'}')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array; `element` is called before each value and must read or skip exactly this value.
    #[inline]
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.open(b'[')?;
        if !self.take(b']') {
            loop {
                element(self)?;
                if !self.take(b',') {
                    break;
                }
            }
            self.expect(b']')?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string: what stands between the quotes, and whether there are escapes in it.
    #[inline]
    pub(crate) fn text(&mut self) -> Result<(&'a str, bool), Fault> {
        self.peek();
        self.string()
    }

    /// Reads a number as it is written.
    pub(crate) fn number(&mut self) -> Result<&'a str, Fault> {
        let start = self.mark();
        self.step(b'-');
        let mut digits = if self.step(b'0') { 1 } else { self.digits()? };
        if self.step(b'.') {
            digits += self.digits()?;
        }
        if self.step(b'e') || self.step(b'E') {
            if !self.step(b'+') {
                self.step(b'-');
            }
            digits += self.digits()?;
        }
        if digits > self.limits.json_number_digits_max {
            return Err(self.fault(RefusalReason::JsonNumberTooLong));
        }
        Ok(self.since(start))
    }

    /// Skips any value.
    pub(crate) fn skip(&mut self) -> Result<(), Fault> {
        match self.kind()? {
            Kind::Object => self.members(|reader, _| reader.skip()),
            Kind::Array => self.array(Self::skip),
            Kind::Text => self.string().map(drop),
            Kind::Number => self.number().map(drop),
            Kind::Literal | Kind::Null => self.literal(),
        }
    }

    /// True when nothing but white space is left.
    pub(crate) fn at_end(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Checks that nothing but white space is left.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        if self.at_end() { Ok(()) } else { Err(self.fault(RefusalReason::NotJson)) }
    }

    /// Where the cursor stands, for [`Self::skip_blindly`].
    #[inline]
    pub(crate) fn mark(&mut self) -> Mark {
        self.peek();
        Mark { position: self.position, depth: self.depth }
    }

    /// Goes back to where an element of an array began and skips it by its brackets alone, without limits: so the rest
    /// of an array stays readable after an element over a limit.
    pub(crate) fn skip_blindly(&mut self, mark: Mark) -> Result<(), Fault> {
        self.position = mark.position;
        self.depth = mark.depth;
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b',' | b'}' | b']') if open == 0 => return Ok(()),
                Some(b'"') => {
                    self.position = self.string_end()?.0;
                    continue;
                }
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open -= 1,
                None => return Err(self.fault(RefusalReason::NotJson)),
                Some(_) => {}
            }
            self.position += 1;
        }
    }

    /// Goes back to where an object or array began and skips it by its brackets alone, without limits. An error means
    /// that it does not end.
    pub(crate) fn pass_over(&mut self, mark: Mark) -> Result<(), Fault> {
        self.position = mark.position;
        self.depth = mark.depth;
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => self.position = self.string_end()?.0 - 1,
                Some(b'{' | b'[') => open += 1,
                Some(b'}' | b']') => open = open.saturating_sub(1),
                None => return Err(self.fault(RefusalReason::NotJson)),
                Some(_) => {}
            }
            self.position += 1;
            if open == 0 {
                return Ok(());
            }
        }
    }

    pub(crate) fn fault(&self, reason: RefusalReason) -> Fault {
        Fault { reason, at: self.position }
    }

    fn literal(&mut self) -> Result<(), Fault> {
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        let known = [b"true".as_slice(), b"false", b"null"].into_iter().find(|word| rest.starts_with(word));
        let Some(word) = known else { return Err(self.fault(RefusalReason::NotJson)) };
        self.position += word.len();
        Ok(())
    }

    #[inline]
    fn string(&mut self) -> Result<(&'a str, bool), Fault> {
        let start = self.position + 1;
        let (end, escaped) = self.string_end()?;
        self.position = end;
        let raw = self.text.get(start..end - 1).unwrap_or_default();
        if raw.len() > self.limits.json_string_bytes_max {
            return Err(self.fault(RefusalReason::JsonStringTooLong));
        }
        Ok((raw, escaped))
    }

    #[inline]
    fn string_end(&self) -> Result<(usize, bool), Fault> {
        if self.byte() != Some(b'"') {
            return Err(self.fault(RefusalReason::NotJson));
        }
        string::end(self.text.as_bytes(), self.position + 1).map_err(|at| Fault { reason: RefusalReason::NotJson, at })
    }

    #[inline]
    fn open(&mut self, bracket: u8) -> Result<(), Fault> {
        self.expect(bracket)?;
        self.depth += 1;
        if self.depth > self.limits.json_depth_max.min(DEPTH_MAX) {
            return Err(self.fault(RefusalReason::JsonTooDeep));
        }
        Ok(())
    }

    #[inline]
    fn digits(&mut self) -> Result<usize, Fault> {
        let start = self.position;
        while matches!(self.byte(), Some(b'0'..=b'9')) {
            self.position += 1;
        }
        let count = self.position - start;
        if count == 0 { Err(self.fault(RefusalReason::NotJson)) } else { Ok(count) }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.take(byte) { Ok(()) } else { Err(self.fault(RefusalReason::NotJson)) }
    }

    /// Skips white space and then `byte`, if it follows.
    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        self.peek();
        self.step(byte)
    }

    /// Skips `byte` if it is next.
    #[inline]
    fn step(&mut self, byte: u8) -> bool {
        let found = self.byte() == Some(byte);
        self.position += usize::from(found);
        found
    }

    /// Skips white space and returns the byte after it.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte() {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.position += 1,
                other => return other,
            }
        }
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.position).copied()
    }
}
