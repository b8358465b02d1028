//! Values that are read before it is known whether they matter.
//!
//! A document is read once, before its shape is known, so a member named `time` or `tags` may belong to a vendor who
//! means something else by it. What is wrong with a value is therefore kept in its slot and told only when the event
//! needs that value. A name that stands twice in one object is such a wrong: guessing which one the sender meant would
//! let two readers of the same bytes disagree. `null` counts as absent.

use std::borrow::Cow;

use crate::json::{Fault, Kind, Reader, unescape};
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};

/// A text that may be there.
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

    /// The text if there is one and nothing is wrong with it.
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

    /// The text, which must be there and not be empty.
    pub(crate) fn required(self, name: &str) -> Result<Cow<'a, str>, Refusal> {
        match self.optional(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(Refusal::new(RefusalReason::MissingField, name)),
        }
    }
}

/// A size in bytes that may be there: a whole number, or a text of digits as the documentation of Ceph prints it.
#[derive(Debug, Default)]
pub(crate) enum Size {
    #[default]
    Absent,
    Known(i64),
    Bad(RefusalReason),
}

impl Size {
    pub(crate) fn read(&mut self, reader: &mut Reader<'_, '_>) -> Result<(), Fault> {
        let new = match reader.kind()? {
            Kind::Number => Self::from_digits(reader.number()?),
            Kind::Text => match reader.text()? {
                ("", _) => return Ok(()),
                (digits, _) => Self::from_digits(digits),
            },
            Kind::Null => return reader.skip(),
            _ => {
                reader.skip()?;
                Self::Bad(RefusalReason::WrongType)
            }
        };
        *self = if matches!(self, Self::Absent) { new } else { Self::Bad(RefusalReason::DuplicateField) };
        Ok(())
    }

    fn from_digits(digits: &str) -> Self {
        // Without the check a text of "+5" would pass, which no JSON number is.
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|_| plain).map_or(Self::Bad(RefusalReason::BadSize), Self::Known)
    }

    pub(crate) fn optional(self) -> Result<Option<i64>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Known(bytes) => Ok(Some(bytes)),
            Self::Bad(reason) => Err(Refusal::new(reason, "object size is not a whole number of bytes below 2^63")),
        }
    }
}

/// Names with values, as they stand.
pub(crate) type List<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Names with values that may be there: an object of texts, or Ceph's array of `{"key":..,"val":..}`. Kept as it
/// stands, since most of those who read a document do not need it.
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

    /// The list, absent or not; `name` is for the detail of a refusal.
    pub(crate) fn optional(self, name: &str, limits: &Limits) -> Result<Option<List<'a>>, Refusal> {
        match self {
            Self::Absent => Ok(None),
            Self::Unread(text) => read_list(text, limits).map_err(|fault| Refusal::new(fault.reason, name)).map(Some),
            Self::Bad(reason) => Err(Refusal::new(reason, name)),
        }
    }
}

fn read_list<'a>(text: &'a str, limits: &Limits) -> Result<List<'a>, Fault> {
    let mut reader = Reader::new(text, limits);
    let mut list = Vec::new();
    let mut wrong = None;
    if reader.kind()? == Kind::Object {
        reader.members(|reader, name| {
            let mut value = Slot::Absent;
            value.read(reader)?;
            wrong = wrong.or(push(&mut list, Slot::from_text(name), value));
            Ok(())
        })?;
    } else {
        reader.array(|reader| {
            let (name, value) = read_pair(reader)?;
            wrong = wrong.or(push(&mut list, name, value));
            Ok(())
        })?;
    }
    wrong.map_or(Ok(list), |reason| Err(reader.fault(reason)))
}

fn read_pair<'a>(reader: &mut Reader<'a, '_>) -> Result<(Slot<'a>, Slot<'a>), Fault> {
    let (mut name, mut value) = (Slot::Absent, Slot::Absent);
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok((Slot::Bad(RefusalReason::WrongType), value));
    }
    reader.object(|reader, member| match member {
        "key" | "Key" => name.read(reader),
        "val" | "value" | "Value" => value.read(reader),
        _ => reader.skip(),
    })?;
    Ok((name, value))
}

fn push<'a>(list: &mut List<'a>, name: Slot<'a>, value: Slot<'a>) -> Option<RefusalReason> {
    match (name, value) {
        (Slot::Text(name), Slot::Text(value)) => list.push((name, value)),
        (Slot::Bad(reason), _) | (_, Slot::Bad(reason)) => return Some(reason),
        _ => return Some(RefusalReason::WrongType),
    }
    None
}
