//! Objects of Kubernetes: pods, slices and nodes, by themselves, in lists, and in the frames of a watch.
//!
//! No object names its cluster, so it is the one that the source lists. The version is `metadata.resourceVersion` as a
//! number, comparable within one type of resource. An object outside of a watch comes from a list; the API server omits
//! `kind` and `apiVersion` of the items of one, so these follow from the kind of the list.

mod metadata;
mod node;
mod pod;
mod slice;

use std::borrow::Cow;

pub(crate) use metadata::Told;

use super::context::Context;
use super::document::Object;
use super::event::Decoded;
use super::filter::FilterReason;
use crate::refusal::{Refusal, RefusalReason};
use crate::text;

/// Kind and version of the items of a list of this kind that do not say it; `None` for what is no list that we know.
pub(crate) fn items_of(list_kind: &str) -> Option<(&'static str, &'static str)> {
    match list_kind {
        "PodList" => Some(("Pod", "v1")),
        "NodeList" => Some(("Node", "v1")),
        "EndpointSliceList" => Some(("EndpointSlice", "discovery.k8s.io/v1")),
        // Its items are of any kind, and each says which.
        "List" => Some(("", "")),
        _ => None,
    }
}

/// An object; `kind` and `api_version` are what its list says of it.
pub(crate) fn object(
    object: &Object<'_>,
    (kind, api_version): (&str, &str),
    told: Told,
    context: &Context<'_>,
) -> Result<Decoded, Refusal> {
    let kind = object.text("kind")?.map_or(Cow::Borrowed(kind), Cow::Owned);
    let api_version = object.text("apiVersion")?.map_or(Cow::Borrowed(api_version), Cow::Owned);
    match (&*kind, &*api_version) {
        ("Pod", "v1") => pod::pod(object, told, context),
        ("Node", "v1") => node::node(object, told, context),
        ("EndpointSlice", version) if version.starts_with("discovery.k8s.io/") => slice::slice(object, told, context),
        ("", _) => Err(Refusal::new(RefusalReason::UnknownShape, "an item of a list without kind")),
        _ => Ok(filtered(kind)),
    }
}

/// A frame of a watch. Bookmarks only carry a version, and errors end the watch.
pub(crate) fn frame(frame: &Object<'_>, context: &Context<'_>) -> Result<Decoded, Refusal> {
    let name = frame.required("type")?;
    let told = match name.as_str() {
        "ADDED" | "MODIFIED" => Told::Watched,
        "DELETED" => Told::Deleted,
        _ => return Ok(filtered(Cow::Owned(name))),
    };
    let Some(inner) = frame.object("object")? else { return Err(Refusal::new(RefusalReason::MissingField, "object")) };
    object(&inner, ("", ""), told, context)
}

fn filtered(name: Cow<'_, str>) -> Decoded {
    Decoded::Filtered { reason: FilterReason::UnsupportedKind, name: text::name_to_count(name).into_owned() }
}
