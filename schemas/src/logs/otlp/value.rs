//! Values of attributes and bodies.

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::message::{AnyValue, KeyValue, Kind};

/// A value as JSON. Bytes are base64, as in OTLP's own JSON; of two attributes with one name the last one stays.
pub(super) fn to_json(value: &AnyValue) -> Value {
    match &value.value {
        None => Value::Null,
        Some(Kind::Text(text)) => text.as_str().into(),
        Some(Kind::Bool(is_so)) => (*is_so).into(),
        Some(Kind::Int(number)) => (*number).into(),
        Some(Kind::Double(number)) => (*number).into(),
        Some(Kind::Array(array)) => array.values.iter().map(to_json).collect(),
        Some(Kind::List(list)) => Value::Object(list.values.iter().map(member).collect()),
        Some(Kind::Bytes(bytes)) => STANDARD.encode(bytes).into(),
    }
}

fn member(attribute: &KeyValue) -> (String, Value) {
    (attribute.key.clone(), attribute.value.as_ref().map_or(Value::Null, to_json))
}

/// A value as text: that of a text itself, of all others their JSON.
pub(super) fn to_text(value: &AnyValue) -> String {
    match to_json(value) {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The bytes of a body.
pub(super) fn into_bytes(value: AnyValue) -> Bytes {
    match value.value {
        Some(Kind::Text(text)) => text.into(),
        Some(Kind::Bytes(bytes)) => bytes.into(),
        _ => to_text(&value).into(),
    }
}

/// The first attributes that take no more than so many bytes.
pub(super) fn attributes(all: &[KeyValue], bytes_max: usize) -> Map<String, Value> {
    let mut left = bytes_max;
    let mut kept = Map::new();
    for attribute in all {
        let (name, value) = member(attribute);
        let bytes = name.len() + value.to_string().len();
        let Some(rest) = left.checked_sub(bytes) else { break };
        left = rest;
        kept.insert(name, value);
    }
    kept
}
