//! Values that are read before it is known whether they matter.
//!
//! A document is read once, before its shape is known, so a member named `time` or `tags` may belong to a vendor who
//! means something else by it. The fault of a value is therefore kept in its slot and reported only when the event
//! needs that value. A name that appears twice in one object is such a fault: guessing which one the sender meant would
//! let two readers of the same bytes disagree. `null` counts as absent.

use std::borrow::Cow;

use crate::json::{Fault, Kind, Reader, unescape};
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};

/// An optional text.
#[derive(Debug, Default)]
pub(crate) enum Slot<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Bad(RefusalReason),
}

impl<'a> Slot<'a> {
    #[inline]
    pub(crate) fn read(&mut self, reader: &mut Reader<'a, '_>) -> Result<(), Fault> {
        let new = match reader.kind()? {
            Kind::Text => Self::from_text(reader.text()?),
            Kind::Null => return reader.skip(),
            _ => {
                reader.skip()?;
                Self::Bad(RefusalReason::WrongType)
            }
        };
        *self = if matches!(self, Self::Absent) { new } else { Self::Bad(RefusalReason::DuplicateField) };
        Ok(())
    }

    fn from_text((raw, escaped): (&'a str, bool)) -> Self {
        if !escaped {
            return Self::Text(Cow::Borrowed(raw));
        }
        match unescape(raw) {
            Ok(text) if text.contains('\0') => Self::Bad(RefusalReason::NulInText),
            Ok(text) => Self::Text(text),
            Err(reason) => Self::Bad(reason),
        }
    }

    pub(crate) fn is_present(&self) -> bool {
        !matches!(self, Self::Absent)
    }

    /// The text, if there is one without a fault.
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The text, or none when it is absent or wrong.
    pub(crate) fn to_text(&self) -> Cow<'a, str> {
        if let Self::Text(text) = self { text.clone() } else { Cow::Borrowed("") }
    }

    /// The text, absent or not; `name` is for the detail of a refusal.
    pub(crate) fn optional(self, name: &str) -> Result<Option<Cow<'a, str>>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Bad(reason) => Err(Refusal::new(reason, name)),
        }
    }

    /// The text, which must be present and not empty.
    pub(crate) fn required(self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        match self.optional(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Refusal::new(RefusalReason::MissingField, name)),
        }
    }
}

/// An optional size in bytes: a whole number, or a text of digits as in the documentation of Ceph.
#[derive(Debug, Default)]
pub(crate) enum Size {
    #[default]
    Absent,
    /// `null` or an empty text: the emitter does not know it.
    Unknown,
    Known(i64),
    Bad(RefusalReason),
}

impl Size {
    pub(crate) fn read(&mut self, reader: &mut Reader<'_, '_>) -> Result<(), Fault> {
        let new = match reader.kind()? {
            Kind::Number => Self::from_digits(reader.number()?),
            Kind::Text => match reader.text()? {
                ("", _) => Self::Unknown,
                (digits, _) => Self::from_digits(digits),
            },
            Kind::Null => {
                reader.skip()?;
                Self::Unknown
            }
            _ => {
                reader.skip()?;
                Self::Bad(RefusalReason::WrongType)
            }
        };
        *self = if matches!(self, Self::Absent) { new } else { Self::Bad(RefusalReason::DuplicateField) };
        Ok(())
    }

    /// The size, for emitters that leave out a zero: absent counts as 0.
    pub(crate) fn or_zero(self) -> Self {
        if matches!(self, Self::Absent) { Self::Known(0) } else { self }
    }

    fn from_digits(digits: &str) -> Self {
        // Without the check a text of "+5" would pass, which no JSON number is.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).map_or(Self::Bad(RefusalReason::BadSize), Self::Known)
    }

    pub(crate) fn optional(self) -> Result<Option<i64>, Refusal> {
        match self {
            Self::Absent | Self::Unknown => Ok(None),
            Self::Known(bytes) => Ok(Some(bytes)),
            Self::Bad(reason) => Err(Refusal::new(reason, "object size is not a whole number of bytes below 2^63")),
        }
    }
}

/// Names with values, unchanged.
pub(crate) type List<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Optional names with values: an object of texts, or Ceph's array of `{"key":..,"val":..}`. Kept unread, since most
/// readers of a document do not need it.
#[derive(Debug, Default)]
pub(crate) enum Pairs<'a> {
    #[default]
    Absent,
    Unread(&'a str),
    Bad(RefusalReason),
}

impl<'a> Pairs<'a> {
    pub(crate) fn read(&mut self, reader: &mut Reader<'a, '_>) -> Result<(), Fault> {
        let start = reader.mark();
        let kind = reader.kind()?;
        reader.skip()?;
        *self = match (&self, kind) {
            (_, Kind::Null) => return Ok(()),
            (Self::Absent, Kind::Object | Kind::Array) => Self::Unread(reader.since(start)),
            (Self::Absent, _) => Self::Bad(RefusalReason::WrongType),
            _ => Self::Bad(RefusalReason::DuplicateField),
        };
        Ok(())
    }

    /// The list, absent or not, and its most serious fault: a pair with a fault is left out of the list, and a value
    /// that is no list is absent.
    pub(crate) fn lenient(self, limits: &Limits) -> (Option<List<'a>>, Option<RefusalReason>) {
        match self {
            Self::Absent => (None, None),
            Self::Unread(text) => match read_list(text, limits) {
                Ok((list, fault)) => (Some(list), fault),
                Err(fault) => (None, Some(fault.reason)),
            },
            Self::Bad(reason) => (None, Some(reason)),
        }
    }
}

fn read_list<'a>(text: &'a str, limits: &Limits) -> Result<(List<'a>, Option<RefusalReason>), Fault> {
    let mut reader = Reader::new(text, limits);
    let mut list = Vec::new();
    let mut wrong = None;
    if reader.kind()? == Kind::Object {
        reader.members(|reader, name| {
            let value = read_value(reader)?;
            wrong = heavier(wrong, push(&mut list, Slot::from_text(name), value));
            Ok(())
        })?;
    } else {
        reader.array(|reader| {
            let (name, value) = read_pair(reader)?;
            wrong = heavier(wrong, push(&mut list, name, value));
            Ok(())
        })?;
    }
    Ok((list, wrong))
}

/// A value as text: another type is kept as it is written, a number with all its digits.
fn read_value<'a>(reader: &mut Reader<'a, '_>) -> Result<Slot<'a>, Fault> {
    match reader.kind()? {
        Kind::Text => Ok(Slot::from_text(reader.text()?)),
        Kind::Null => reader.skip().map(|()| Slot::Absent),
        _ => {
            let start = reader.mark();
            reader.skip()?;
            Ok(Slot::Text(Cow::Borrowed(reader.since(start))))
        }
    }
}

fn read_pair<'a>(reader: &mut Reader<'a, '_>) -> Result<(Slot<'a>, Slot<'a>), Fault> {
    let mut name = Slot::Absent;
    let mut value = Slot::Absent;
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok((Slot::Bad(RefusalReason::WrongType), value));
    }
    reader.object(|reader, member| match member {
        "key" | "Key" => name.read(reader),
        "val" | "value" | "Value" => {
            value = read_value(reader)?;
            Ok(())
        }
        _ => reader.skip(),
    })?;
    Ok((name, value))
}

/// The more serious of two faults, the first of equal ones: text that cannot be stored is lost if it is left out, while
/// a value of the wrong type was never part of the description.
pub(crate) fn heavier(first: Option<RefusalReason>, second: Option<RefusalReason>) -> Option<RefusalReason> {
    match second {
        Some(reason) if loses_text(reason) && !first.is_some_and(loses_text) => second,
        _ => first.or(second),
    }
}

/// True for a fault of text that is present but cannot be stored.
pub(crate) fn loses_text(reason: RefusalReason) -> bool {
    matches!(reason, RefusalReason::NulInText | RefusalReason::LoneSurrogate)
}

/// Adds a pair; returns the fault if it cannot be added. Without a value there is no pair.
fn push<'a>(list: &mut List<'a>, name: Slot<'a>, value: Slot<'a>) -> Option<RefusalReason> {
    match (name, value) {
        (Slot::Text(name), Slot::Text(value)) => list.push((name, value)),
        (Slot::Bad(reason), _) | (_, Slot::Bad(reason)) => return Some(reason),
        (Slot::Text(_), Slot::Absent) => {}
        (Slot::Absent, _) => return Some(RefusalReason::MissingField),
    }
    None
}
