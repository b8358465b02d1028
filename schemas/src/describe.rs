//! Content type, user metadata and tags in one canonical form, so that two emitters of one object give equal text.

use std::borrow::Cow;

use crate::event::{Description, Dialect};
use crate::judge::within;
use crate::limits::Limits;
use crate::refusal::{Refusal, RefusalReason};
use crate::slot::{List, Pairs, Slot};
use crate::text;

const USER_PREFIX: &str = "x-amz-meta-";
const CONTENT_TYPE: &str = "content-type";

pub(crate) fn describe<'a>(
    content_type: Slot<'a>,
    metadata: Pairs<'a>,
    tags: Pairs<'a>,
    dialect: Dialect,
    limits: &Limits,
) -> Result<Description<'a>, Refusal> {
    // Ceph writes empty arrays also where it has not looked, so they say nothing.
    let says = |list: &List<'_>| dialect != Dialect::Ceph || !list.is_empty();
    let mut content_type = content_type.optional("contentType")?.filter(|value| !value.is_empty());
    let metadata = match metadata.optional("user metadata", limits)?.filter(says) {
        Some(list) => {
            let (list, inner) = user_names(list)?;
            content_type = content_type.or(inner);
            Some(canonical(&list, limits)?)
        }
        None => None,
    };
    let tags = match tags.optional("tags", limits)?.filter(says) {
        Some(mut list) => {
            list.sort_unstable();
            refuse_twins(&list)?;
            Some(canonical(&list, limits)?)
        }
        None => None,
    };
    if let Some(content_type) = &content_type {
        within(content_type, limits.content_type_bytes_max, RefusalReason::ContentTypeTooLong)?;
    }
    Ok(Description { content_type, metadata: metadata.map(Cow::Owned), tags: tags.map(Cow::Owned) })
}

/// Names as S3 stores them, sorted, and the content type, which MinIO lists among them.
fn user_names(list: List<'_>) -> Result<(List<'_>, Option<Cow<'_, str>>), Refusal> {
    let mut content_type = None;
    let mut user = Vec::with_capacity(list.len());
    let mut system = Vec::new();
    for (name, value) in list {
        if let Some(stripped) = strip_user_prefix(&name) {
            user.push((lower(stripped), value));
        } else if name.eq_ignore_ascii_case(CONTENT_TYPE) {
            content_type = Some(value).filter(|value| !value.is_empty());
        } else {
            system.push((lower(name), value));
        }
    }
    user.sort_unstable();
    refuse_twins(&user)?;
    system.sort_unstable();
    refuse_twins(&system)?;
    // What the user named `cache-control` is the user's; the header of that name gives way.
    system.retain(|(name, _)| user.binary_search_by(|(own, _)| own.cmp(name)).is_err());
    user.append(&mut system);
    user.sort_unstable();
    Ok((user, content_type))
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

fn refuse_twins(sorted: &List<'_>) -> Result<(), Refusal> {
    let twins = sorted.windows(2).any(|pair| matches!(pair, [(one, _), (other, _)] if one == other));
    if twins {
        return Err(Refusal::new(RefusalReason::DuplicateField, "a name stands twice in user metadata or tags"));
    }
    Ok(())
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
