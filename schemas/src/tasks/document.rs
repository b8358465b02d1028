//! Reads the members of one object of a document whose limits were checked before.
//!
//! Values stay unread until their member is requested, so a fault of a member that nobody needs has no effect. Of a
//! member that stands twice none is chosen: the event that needs it is refused, as in the domain of objects. `null`
//! counts as absent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::{Fault, Kind, Reader, unescape};
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};

/// Bytes of a text that is kept: names, ids, groups and statuses are far shorter.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// The document was read once within the limits of its record, so nothing in it is beyond them.
static CHECKED: Limits = Limits {
    record_bytes_max: usize::MAX,
    json_depth_max: usize::MAX,
    json_keys_max: usize::MAX,
    json_string_bytes_max: usize::MAX,
    json_number_digits_max: usize::MAX,
    key_bytes_max: usize::MAX,
    bucket_bytes_max: usize::MAX,
    version_id_bytes_max: usize::MAX,
    etag_bytes_max: usize::MAX,
    content_type_bytes_max: usize::MAX,
    metadata_bytes_max: usize::MAX,
    events_per_record_max: usize::MAX,
    parts_per_body_max: usize::MAX,
};

/// The members of one object.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    members: Vec<(Cow<'a, str>, Kind, &'a str)>,
}

impl<'a> Object<'a> {
    /// Reads the text of an object; `name` is for the detail of a refusal.
    pub(crate) fn read(text: &'a str, name: &str) -> Result<Self, Refusal> {
        let mut reader = Reader::new(text, &CHECKED);
        if reader.kind()? != Kind::Object {
            return Err(Refusal::new(RefusalReason::WrongType, format!("{name} is not an object")));
        }
        let mut members = Vec::new();
        reader.members(|reader, (raw, escaped)| {
            // A name with half a surrogate pair is no name that we look for.
            let name = if escaped { unescape(raw).unwrap_or_default() } else { Cow::Borrowed(raw) };
            let (kind, text) = value(reader)?;
            members.push((name, kind, text));
            Ok(())
        })?;
        Ok(Self { members })
    }

    /// The type and the text of a member.
    pub(crate) fn find(&self, name: &str) -> Result<Option<(Kind, &'a str)>, Refusal> {
        let mut found = self.members.iter().filter(|(member, kind, _)| member == name && *kind != Kind::Null);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((_, kind, text)), None) => Ok(Some((*kind, text))),
            (Some(_), Some(_)) => Err(Refusal::new(RefusalReason::DuplicateField, name)),
        }
    }

    /// A text of at most [`TEXT_BYTES_MAX`].
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        let Some((kind, text)) = self.find(name)? else { return Ok(None) };
        let text = read_text(kind, text, name)?;
        if text.len() > TEXT_BYTES_MAX {
            let detail = format!("{name} has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len());
            return Err(Refusal::new(RefusalReason::BadName, detail));
        }
        Ok(Some(text.into_owned()).filter(|text| !text.is_empty()))
    }

    /// A text that must be there and not empty.
    pub(crate) fn required(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::new(RefusalReason::MissingField, name))
    }

    /// A text for people, cut at [`TEXT_BYTES_MAX`]; absent where it is no text.
    pub(crate) fn prose(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.find(name)? {
            Some((Kind::Text, text)) => {
                let text = read_text(Kind::Text, text, name)?;
                let kept = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
                Ok(Some(kept.to_owned()).filter(|text| !text.is_empty()))
            }
            _ => Ok(None),
        }
    }

    /// True or false.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.find(name)? {
            None => Ok(None),
            Some((Kind::Literal, text)) => Ok(Some(text == "true")),
            Some(_) => Err(wrong_type(name)),
        }
    }

    /// A whole number from `min` to `max`.
    pub(crate) fn whole(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Refusal> {
        match self.find(name)? {
            None => Ok(None),
            Some((Kind::Number, digits)) => {
                let number = digits.parse().ok().filter(|number| (min..=max).contains(number));
                let outside = || Refusal::new(RefusalReason::BadNumber, format!("{name} is not one of {min} to {max}"));
                number.map(Some).ok_or_else(outside)
            }
            Some(_) => Err(wrong_type(name)),
        }
    }

    /// The members of an object inside of this one.
    pub(crate) fn object(&self, name: &str) -> Result<Option<Object<'a>>, Refusal> {
        self.find(name)?.map(|(_, text)| Object::read(text, name)).transpose()
    }

    /// Takes each element of an array, of which there may be at most `max`; none where the array is absent.
    pub(crate) fn elements(
        &self,
        name: &str,
        max: usize,
        element: &mut dyn FnMut(Kind, &'a str) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let Some((kind, text)) = self.find(name)? else { return Ok(()) };
        if kind != Kind::Array {
            return Err(wrong_type(name));
        }
        let mut count = 0_usize;
        let mut outcome = Ok(());
        Reader::new(text, &CHECKED).array(|reader| {
            let (kind, text) = value(reader)?;
            count += 1;
            if count > max && outcome.is_ok() {
                outcome = Err(Refusal::new(RefusalReason::TooManyItems, format!("more than {max} {name}")));
            } else if outcome.is_ok() {
                outcome = element(kind, text);
            }
            Ok(())
        })?;
        outcome
    }

    /// As [`Self::elements`], for an array of objects.
    pub(crate) fn objects(
        &self,
        name: &str,
        max: usize,
        element: &mut dyn FnMut(Object<'a>) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.elements(name, max, &mut |_, text| element(Object::read(text, name)?))
    }

    /// The members whose values are texts, in the order of the document; another value is refused.
    pub(crate) fn texts(&self) -> impl Iterator<Item = Result<(String, String), Refusal>> + '_ {
        self.members.iter().map(|(name, kind, text)| {
            if name.contains('\0') {
                return Err(Refusal::new(RefusalReason::NulInText, "a name"));
            }
            Ok((name.to_string(), read_text(*kind, text, "a value")?.into_owned()))
        })
    }
}

/// The labels in an object, within the limit of the metadata of an object of a store.
pub(crate) fn labels(labels: &Object<'_>, limits: &Limits) -> Result<BTreeMap<String, String>, Refusal> {
    let labels = labels.texts().collect::<Result<BTreeMap<_, _>, _>>()?;
    let bytes: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > limits.metadata_bytes_max {
        let detail = format!("{bytes} bytes of labels, the limit is {}", limits.metadata_bytes_max);
        return Err(Refusal::new(RefusalReason::MetadataTooLong, detail));
    }
    Ok(labels)
}

/// The text of a value that is one.
pub(crate) fn read_text<'a>(kind: Kind, text: &'a str, name: &str) -> Result<Cow<'a, str>, Refusal> {
    let raw = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|_| kind == Kind::Text);
    let raw = raw.ok_or_else(|| wrong_type(name))?;
    if !raw.contains('\\') {
        return Ok(Cow::Borrowed(raw));
    }
    let text = unescape(raw).map_err(|reason| Refusal::new(reason, name))?;
    if text.contains('\0') { Err(Refusal::new(RefusalReason::NulInText, name)) } else { Ok(text) }
}

/// The refusal of a member of another type.
pub(crate) fn wrong_type(name: &str) -> Refusal {
    Refusal::new(RefusalReason::WrongType, name)
}

/// Skips a value and returns its type and text.
fn value<'a>(reader: &mut Reader<'a, '_>) -> Result<(Kind, &'a str), Fault> {
    let start = reader.mark();
    let kind = reader.kind()?;
    reader.skip()?;
    Ok((kind, reader.since(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason<T: std::fmt::Debug>(result: Result<T, Refusal>) -> RefusalReason {
        result.unwrap_err().reason
    }

    #[test]
    fn a_member_is_judged_when_it_is_requested() {
        let text = r#"{"a":"x","a":"y","nul":"\u0000","half":"\ud800","no":null,"n":3,"f":true,"e":"","t":"\u00e9"}"#;
        let object = Object::read(text, "test").unwrap();
        assert_eq!(reason(object.text("a")), RefusalReason::DuplicateField);
        assert_eq!(reason(object.text("nul")), RefusalReason::NulInText);
        assert_eq!(reason(object.text("half")), RefusalReason::LoneSurrogate);
        assert_eq!(reason(object.text("n")), RefusalReason::WrongType);
        assert_eq!((object.text("no"), object.text("e"), object.text("none")), (Ok(None), Ok(None), Ok(None)));
        assert_eq!(object.text("t"), Ok(Some("é".to_owned())));
        assert_eq!((object.flag("f"), reason(object.flag("n"))), (Ok(Some(true)), RefusalReason::WrongType));
        assert_eq!((object.whole("n", 0, 3), reason(object.whole("n", 4, 9))), (Ok(Some(3)), RefusalReason::BadNumber));
        assert_eq!((object.prose("n"), reason(object.required("e"))), (Ok(None), RefusalReason::MissingField));
        assert_eq!(reason(Object::read("[]", "test")), RefusalReason::WrongType);
    }

    #[test]
    fn kept_texts_and_arrays_are_bounded() {
        let text = format!(r#"{{"long":"{}","list":[1,2,3]}}"#, "é".repeat(TEXT_BYTES_MAX));
        let object = Object::read(&text, "test").unwrap();
        assert_eq!(reason(object.text("long")), RefusalReason::BadName);
        assert_eq!(object.prose("long").unwrap().unwrap().len(), TEXT_BYTES_MAX);
        let mut seen = 0;
        let mut count = |_: Kind, _: &str| {
            seen += 1;
            Ok(())
        };
        assert_eq!(reason(object.elements("list", 2, &mut count)), RefusalReason::TooManyItems);
        assert_eq!(object.elements("list", 3, &mut count), Ok(()));
        assert_eq!(seen, 5);
    }
}
