//! Content type, user metadata and tags in one canonical form, so that two emitters of one object give equal text.
//!
//! A wrong part of a description affects only itself, because the object was written all the same: in a creation, a
//! part of the wrong type is left out. Text that cannot be stored is refused, because otherwise it would be lost.

use std::borrow::Cow;

use super::event::{Description, Dialect};
use super::key;
use crate::limits::{Limits, within};
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::{List, Pairs, Slot, heavier, loses_text};
use crate::text;

const USER_PREFIX: &str = "x-amz-meta-";
const CONTENT_TYPE: &str = "content-type";
const TAGGING: &str = "x-amz-tagging";

/// Names under which stores keep internal data, such as sealed keys. These are not user metadata.
const RESERVED_PREFIXES: [&str; 3] = ["x-minio-internal-", "x-minio-encryption-", "x-rustfs-"];

/// The description of a creation, without parts of the wrong type.
///
/// # Errors
/// Refuses a part over a limit, and text that cannot be stored: nothing is cut.
pub(crate) fn describe<'a>(
    content_type: Slot<'a>,
    metadata: Pairs<'a>,
    tags: Pairs<'a>,
    dialect: Dialect,
    limits: &Limits,
) -> Result<Description<'a>, Refusal> {
    match read(content_type, metadata, tags, dialect, limits)? {
        (_, Some((reason, field))) if loses_text(reason) => Err(Refusal::new(reason, field)),
        (description, _) => Ok(description),
    }
}

/// The description of an event that only describes.
///
/// # Errors
/// Refuses a part over a limit, and everything that cannot be read.
pub(crate) fn describe_strictly<'a>(
    content_type: Slot<'a>,
    metadata: Pairs<'a>,
    tags: Pairs<'a>,
    dialect: Dialect,
    limits: &Limits,
) -> Result<Description<'a>, Refusal> {
    match read(content_type, metadata, tags, dialect, limits)? {
        (description, None) => Ok(description),
        (_, Some((reason, field))) => Err(Refusal::new(reason, field)),
    }
}

/// The reason, and the wrong field.
type Wrong = (RefusalReason, &'static str);

fn read<'a>(
    content_type: Slot<'a>,
    metadata: Pairs<'a>,
    tags: Pairs<'a>,
    dialect: Dialect,
    limits: &Limits,
) -> Result<(Description<'a>, Option<Wrong>), Refusal> {
    // Ceph writes empty arrays also if it has not looked, so they mean nothing.
    let says = |list: &List<'_>| dialect != Dialect::Ceph || !list.is_empty();
    let (content_type, mut wrong) = match content_type {
        Slot::Bad(reason) => (None, Some((reason, "contentType"))),
        Slot::Text(text) => (Some(text).filter(|text| !text.is_empty()), None),
        Slot::Absent => (None, None),
    };
    let mut described = Description { content_type, ..Description::default() };
    let (metadata, fault) = metadata.lenient(limits);
    wrong = heavier_of(wrong, fault, "user metadata");
    let (tags, fault) = tags.lenient(limits);
    wrong = heavier_of(wrong, fault, "tags");
    let mut tags = tags.filter(says);
    if let Some(list) = metadata.filter(says) {
        let names = Names::sort(list);
        described.content_type = described.content_type.or(names.content_type);
        tags = tags.or_else(|| names.tagging.as_deref().map(read_tagging));
        described.metadata = Some(Cow::Owned(canonical(&names.metadata, limits)?));
    }
    if let Some(mut list) = tags {
        sort_names(&mut list);
        described.tags = Some(Cow::Owned(canonical(&list, limits)?));
    }
    if let Some(content_type) = &described.content_type {
        within(content_type, limits.content_type_bytes_max, RefusalReason::ContentTypeTooLong)?;
    }
    Ok((described, wrong))
}

fn heavier_of(wrong: Option<Wrong>, fault: Option<RefusalReason>, field: &'static str) -> Option<Wrong> {
    let first = wrong.map(|(reason, _)| reason);
    if heavier(first, fault) == first { wrong } else { fault.map(|reason| (reason, field)) }
}

/// The sorted content of a metadata list.
#[derive(Default)]
struct Names<'a> {
    /// Names as S3 stores them, sorted.
    metadata: List<'a>,
    /// MinIO lists it among them.
    content_type: Option<Cow<'a, str>>,
    /// The tags, form-encoded: MinIO and RustFS keep them among the metadata.
    tagging: Option<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    fn sort(list: List<'a>) -> Self {
        let mut names = Self { metadata: Vec::with_capacity(list.len()), ..Self::default() };
        let mut system = Vec::new();
        for (name, value) in list {
            if let Some(stripped) = strip_user_prefix(&name) {
                names.metadata.push((lower(stripped), value));
            } else if name.eq_ignore_ascii_case(CONTENT_TYPE) {
                names.content_type = names.content_type.max(Some(value).filter(|value| !value.is_empty()));
            } else if name.eq_ignore_ascii_case(TAGGING) {
                names.tagging = names.tagging.max(Some(value));
            } else {
                system.push((lower(name), value));
            }
        }
        sort_names(&mut names.metadata);
        // User metadata named `cache-control` takes precedence over the header of that name.
        system.retain(|(name, _)| names.metadata.binary_search_by(|(own, _)| own.cmp(name)).is_err());
        names.metadata.append(&mut system);
        names.metadata.retain(|(name, _)| !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        sort_names(&mut names.metadata);
        names
    }
}

/// Sorts by name. If a name appears twice, the larger value stays, in whatever order they came.
fn sort_names(list: &mut List<'_>) {
    list.sort_unstable();
    list.dedup_by(|later, kept| {
        let is_twin = later.0 == kept.0;
        if is_twin {
            std::mem::swap(later, kept);
        }
        is_twin
    });
}

/// Tags in the form of a header: `stage=raw&team=blue`, names and values form-encoded. Other text is taken unchanged.
fn read_tagging<'a>(header: &str) -> List<'a> {
    let plain = |part: &str| Cow::Owned(key::decode_form_text(part).unwrap_or_else(|| part.to_owned()));
    let pairs = header.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

fn strip_user_prefix<'a>(name: &Cow<'a, str>) -> Option<Cow<'a, str>> {
    let (prefix, _) = name.split_at_checked(USER_PREFIX.len())?;
    prefix.eq_ignore_ascii_case(USER_PREFIX).then(|| match name {
        Cow::Borrowed(name) => Cow::Borrowed(name.get(USER_PREFIX.len()..).unwrap_or_default()),
        Cow::Owned(name) => Cow::Owned(name.get(USER_PREFIX.len()..).unwrap_or_default().to_owned()),
    })
}

fn lower(mut name: Cow<'_, str>) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_mut().make_ascii_lowercase();
    }
    name
}

/// A JSON object of strings, in the order of the list.
fn canonical(list: &List<'_>, limits: &Limits) -> Result<String, Refusal> {
    let mut json =
        String::with_capacity(2 + list.iter().map(|(name, value)| name.len() + value.len() + 6).sum::<usize>());
    json.push('{');
    for (index, (name, value)) in list.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        text::push_json(&mut json, name);
        json.push(':');
        text::push_json(&mut json, value);
    }
    json.push('}');
    within(&json, limits.metadata_bytes_max, RefusalReason::MetadataTooLong)?;
    Ok(json)
}
