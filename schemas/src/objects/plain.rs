//! Our own types of CloudEvents, for producers that are no object store: `millstream.object.created`, `.deleted` and
//! `.described`, with `time` and the data `{bucket, key, versionId?, size?, etag?, contentType?, metadata?, tags?}`.
//! The key is not encoded; metadata and tags are objects of strings.

use std::borrow::Cow;

use super::event::{Decoded, Dialect, Effect};
use super::judge::{self, Context, Reading};
use super::record::Record;
use crate::refusal::Refusal;

pub(super) fn event<'a>(
    effect: Effect,
    time: Option<Cow<'a, str>>,
    data: Record<'a>,
    context: &Context<'_>,
) -> Result<Decoded<'a>, Refusal> {
    judge::event(data, Reading { effect, time, dialect: Dialect::Plain }, context).map(Decoded::Event)
}
