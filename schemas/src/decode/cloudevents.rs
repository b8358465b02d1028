//! CloudEvents 1.0, structured (attributes beside `data`) and binary (attributes in headers, the payload is the data).
//!
//! Types `com.amazonaws.s3.<eventName>` carry what S3 notifies: `Records`, one record, or its `s3` member alone. Types
//! `millstream.object.*` are our own, see `plain`. Other types are filtered by name.
//! Format: <https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/adapters/aws-s3.md>.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{filtered, notification, plain};
use crate::effect;
use crate::event::{Decoded, Dialect};
use crate::judge::Context;
use crate::refusal::{FilterReason, Refusal, RefusalReason};
use crate::shape::Envelope;

/// The attributes that matter here.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    pub(crate) specversion: Cow<'a, str>,
    pub(crate) event_type: Cow<'a, str>,
    pub(crate) time: Option<Cow<'a, str>>,
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
        let Some(event_type) = find("type") else {
            return Some(Err(Refusal::new(RefusalReason::MissingField, "header of attribute type")));
        };
        let read = || {
            Ok(Self {
                specversion: text("specversion", specversion)?,
                event_type: text("type", event_type)?,
                time: find("time").map(|value| text("time", value)).transpose()?,
            })
        };
        Some(read())
    }
}

pub(super) fn structured<'a>(
    envelope: Envelope<'a>,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    let attributes = Attributes {
        specversion: envelope.specversion.required("specversion")?,
        event_type: envelope.event_type.required("type")?,
        time: envelope.time.optional("time")?,
    };
    let Some(encoded) = envelope.data_base64.optional("data_base64")? else {
        return match envelope.inner_bad {
            Some(reason) if is_known(&attributes.event_type) => Err(Refusal::new(reason, "data")),
            _ => decode(attributes, envelope.inner.map(|inner| *inner), context, emit),
        };
    };
    let bytes = STANDARD
        .decode(encoded.as_bytes())
        .map_err(|error| Refusal::new(RefusalReason::BadBase64, format!("data_base64: {error}")))?;
    let data = Envelope::open(&bytes, context.limits).map_err(|refusal| refusal.within("data_base64"))?;
    decode(attributes, Some(data), context, &mut |decoded| emit(decoded.into_owned()))
}

/// Decodes the data of an event by its attributes.
pub(super) fn decode<'a>(
    attributes: Attributes<'a>,
    data: Option<Envelope<'a>>,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    if attributes.specversion != "1.0" {
        return Err(Refusal::new(RefusalReason::UnsupportedVersion, "specversion is not 1.0"));
    }
    if !is_known(&attributes.event_type) {
        emit(filtered(FilterReason::UnsupportedKind, attributes.event_type));
        return Ok(());
    }
    let Some(data) = data else {
        return Err(Refusal::new(RefusalReason::MissingField, "data"));
    };
    if let Some(effect) = effect::of_plain_type(&attributes.event_type) {
        emit(plain::event(effect, attributes.time, data.record, context)?);
        return Ok(());
    }
    s3(attributes, data, context, emit)
}

fn s3<'a>(
    attributes: Attributes<'a>,
    data: Envelope<'a>,
    context: &Context<'_>,
    emit: &mut dyn FnMut(Decoded<'a>),
) -> Result<(), Refusal> {
    if let Some(reason) = data.records_bad {
        return Err(Refusal::new(reason, "Records"));
    }
    let name = match attributes.event_type {
        Cow::Borrowed(name) => name.strip_prefix(S3_PREFIX).map(Cow::Borrowed),
        Cow::Owned(name) => name.strip_prefix(S3_PREFIX).map(|name| Cow::Owned(name.to_owned())),
    };
    let records = data.records.unwrap_or_else(|| vec![data.record]);
    if records.is_empty() {
        emit(filtered(FilterReason::EmptyNotification, Cow::Borrowed("Records")));
    }
    for record in records {
        let event = notification::event(record, name.clone(), attributes.time.clone(), Dialect::CloudEvents, context);
        emit(event.unwrap_or_else(Decoded::Refused));
    }
    Ok(())
}

const S3_PREFIX: &str = "com.amazonaws.s3.";

fn is_known(event_type: &str) -> bool {
    event_type.starts_with(S3_PREFIX) || effect::of_plain_type(event_type).is_some()
}
