//! The attributes of CloudEvents 1.0 in headers, and the content types by which its modes are told apart.
//!
//! Format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md>.

use std::borrow::Cow;

use crate::objects::record::Vendor;
use crate::refusal::{Refusal, RefusalReason};

/// The type that Eventarc gives a message of Pub/Sub.
pub(crate) const PUBSUB_TYPE: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// The attributes that matter here.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) specversion: Cow<'a, str>,
    pub(crate) event_type: Cow<'a, str>,
    pub(crate) time: Option<Cow<'a, str>>,
    /// By `source`, for data that do not name their vendor.
    pub(crate) vendor: Vendor,
}

impl<'a> Attributes<'a> {
    /// The attributes in the headers of Kafka (`ce_`) or HTTP (`ce-`); `None` when the headers are not binary mode.
    pub(crate) fn of_headers(headers: &'a [(&'a str, &'a [u8])]) -> Option<Result<Self, Refusal>> {
        let find = |attribute: &str| {
            headers.iter().find_map(|(name, value)| {
                let (prefix, rest) = name.split_at_checked(3)?;
                let binary = prefix.eq_ignore_ascii_case("ce_") || prefix.eq_ignore_ascii_case("ce-");
                (binary && rest.eq_ignore_ascii_case(attribute)).then_some(*value)
            })
        };
        let text = |name: &str, value: &'a [u8]| {
            std::str::from_utf8(value)
                .map(Cow::Borrowed)
                .map_err(|_| Refusal::new(RefusalReason::InvalidUtf8, format!("header of attribute {name}")))
        };
        let specversion = find("specversion")?;
        let content_type = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if content_type.is_some_and(|(_, value)| is_structured(value)) {
            return None;
        }
        let Some(event_type) = find("type") else {
            return Some(Err(Refusal::new(RefusalReason::MissingField, "header of attribute type")));
        };
        let read = || {
            Ok(Self {
                specversion: text("specversion", specversion)?,
                event_type: text("type", event_type)?,
                time: find("time").map(|value| text("time", value)).transpose()?,
                vendor: find("source")
                    .and_then(|source| std::str::from_utf8(source).ok())
                    .map_or(Vendor::Unknown, Vendor::of),
            })
        };
        Some(read())
    }
}

/// True for the content type of the structured mode or of a batch. It alone decides the mode: the bindings allow the
/// attributes to be repeated in headers.
pub(crate) fn is_structured(content_type: &[u8]) -> bool {
    const MEDIA_TYPE: &[u8] = b"application/cloudevents";
    content_type.trim_ascii_start().get(..MEDIA_TYPE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MEDIA_TYPE))
}
