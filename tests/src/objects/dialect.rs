//! Events as the stores write them.
//!
//! Written from the published formats and from captured notifications, not from the decoder.

use serde_json::{Value, json};

use crate::objects::event::{Event, Kind};

/// Who tells of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// MinIO's notifications: the sequencer is nanoseconds in hexadecimal.
    Minio,
    /// Notifications of S3.
    Aws,
    /// S3 through EventBridge.
    EventBridge,
    /// CloudEvents of the types `millstream.object.*`.
    Plain,
}

/// Writes an event down.
pub(crate) fn write(event: &Event) -> Vec<u8> {
    let document = match event.dialect {
        Dialect::Minio => minio(event),
        Dialect::Aws => json!({ "Records": [aws_record(event)] }),
        Dialect::EventBridge => event_bridge(event),
        Dialect::Plain => plain(event),
    };
    document.to_string().into_bytes()
}

/// Several events of S3 in one notification.
///
/// # Panics
/// Unless all of them are S3's.
pub fn notification(events: &[Event]) -> Vec<u8> {
    assert!(events.iter().all(|event| event.dialect == Dialect::Aws));
    json!({ "Records": events.iter().map(aws_record).collect::<Vec<_>>() }).to_string().into_bytes()
}

fn minio(event: &Event) -> Value {
    let name = match event.kind {
        Kind::Create => "s3:ObjectCreated:Put",
        Kind::Marker => "s3:ObjectRemoved:DeleteMarkerCreated",
        Kind::Delete => "s3:ObjectRemoved:Delete",
        Kind::RemoveKey if event.at_ns.is_multiple_of(2) => "s3:ObjectRemoved:DeleteAllVersions",
        Kind::RemoveKey => "s3:LifecycleDelMarkerExpiration:Delete",
        Kind::Describe => unreachable!("MinIO does not only describe"),
    };
    let mut object = json!({ "key": form_encoded(&event.key), "sequencer": format!("{:X}", event.at_ns) });
    facts(event, &mut object, "eTag");
    // MinIO leaves a zero out, so that a size that is not known has to be said.
    match (event.size, object.as_object_mut()) {
        (None, Some(members)) if event.kind == Kind::Create => drop(members.insert("size".to_owned(), Value::Null)),
        (Some(0), Some(members)) => drop(members.remove("size")),
        _ => {}
    }
    if let Some(description) = &event.description {
        if let Some(content_type) = &description.content_type {
            object["contentType"] = json!(content_type);
        }
        if let Some(metadata) = &description.metadata {
            let named = metadata.iter().map(|(name, value)| (format!("X-Amz-Meta-{name}"), json!(value)));
            object["userMetadata"] = Value::Object(named.collect());
        }
        assert!(description.tags.is_none(), "MinIO tells no tags");
    }
    let record = json!({
        "eventVersion": "2.0", "eventSource": "minio:s3", "awsRegion": "",
        "eventTime": rfc3339(event.at_ns, 3), "eventName": name,
        "userIdentity": { "principalId": "uploader" },
        "requestParameters": { "principalId": "uploader", "region": "", "sourceIPAddress": "192.0.2.10" },
        "responseElements": { "x-amz-request-id": "189BF5ED3303874E", "x-minio-origin-endpoint": "http://192.0.2.20:9000" },
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "Config",
            "bucket": { "name": event.bucket, "ownerIdentity": { "principalId": "uploader" }, "arn": format!("arn:aws:s3:::{}", event.bucket) },
            "object": object,
        },
        "source": { "host": "192.0.2.10", "port": "", "userAgent": "MinIO (linux; amd64) minio-go/v7.0.63" },
    });
    json!({ "EventName": name, "Key": format!("{}/{}", event.bucket, event.key), "Records": [record] })
}

fn aws_record(event: &Event) -> Value {
    let name = match (event.kind, event.at_ns % 2) {
        (Kind::Create, 0) => "ObjectCreated:Put",
        (Kind::Create, _) => "ObjectCreated:CompleteMultipartUpload",
        (Kind::Marker, 0) => "ObjectRemoved:DeleteMarkerCreated",
        (Kind::Marker, _) => "LifecycleExpiration:DeleteMarkerCreated",
        (Kind::Delete, 0) => "ObjectRemoved:Delete",
        (Kind::Delete, _) => "LifecycleExpiration:Delete",
        (Kind::RemoveKey, _) => unreachable!("S3 tells of each version that it removes"),
        (Kind::Describe, _) => unreachable!("S3 does not only describe"),
    };
    assert!(event.description.is_none(), "S3 tells no description");
    let mut object = json!({ "key": form_encoded(&event.key), "sequencer": format!("00{:016X}", event.order().time) });
    facts(event, &mut object, "eTag");
    json!({
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-central-1",
        "eventTime": rfc3339(event.at_ns, 3), "eventName": name,
        "userIdentity": { "principalId": "AWS:AIDA" }, "requestParameters": { "sourceIPAddress": "192.0.2.10" },
        "s3": {
            "s3SchemaVersion": "1.0", "configurationId": "all",
            "bucket": { "name": event.bucket, "arn": format!("arn:aws:s3:::{}", event.bucket) },
            "object": object,
        },
    })
}

fn event_bridge(event: &Event) -> Value {
    let (name, deletion) = match event.kind {
        Kind::Create => ("Object Created", None),
        Kind::Marker => ("Object Deleted", Some("Delete Marker Created")),
        Kind::Delete => ("Object Deleted", Some("Permanently Deleted")),
        Kind::RemoveKey => unreachable!("EventBridge tells of each version that S3 removes"),
        Kind::Describe => unreachable!("EventBridge does not only describe"),
    };
    assert!(event.description.is_none(), "EventBridge tells no description");
    let mut object = json!({ "key": event.key, "sequencer": format!("{:016X}", event.order().time) });
    facts(event, &mut object, "etag");
    if let Some(version) = object.as_object_mut().and_then(|object| object.remove("versionId")) {
        object["version-id"] = version;
    }
    let mut detail =
        json!({ "version": "0", "bucket": { "name": event.bucket }, "object": object, "reason": "PutObject" });
    if let Some(deletion) = deletion {
        detail["deletion-type"] = json!(deletion);
    }
    json!({
        "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": name, "source": "aws.s3",
        "account": "111122223333", "time": rfc3339(event.at_ns, 0), "region": "eu-central-1",
        "resources": [format!("arn:aws:s3:::{}", event.bucket)], "detail": detail,
    })
}

fn plain(event: &Event) -> Value {
    let kind = match event.kind {
        Kind::Create => "created",
        Kind::Delete => "deleted",
        Kind::Describe => "described",
        Kind::Marker | Kind::RemoveKey => unreachable!("the plain types have no markers and speak of one version"),
    };
    let mut data = json!({ "bucket": event.bucket, "key": event.key });
    facts(event, &mut data, "etag");
    if let Some(description) = &event.description {
        for (name, value) in [
            ("contentType", json!(description.content_type)),
            ("metadata", json!(description.metadata)),
            ("tags", json!(description.tags)),
        ] {
            if !value.is_null() {
                data[name] = value;
            }
        }
    }
    json!({
        "specversion": "1.0", "id": format!("{:x}", event.at_ns), "source": "/test",
        "type": format!("millstream.object.{kind}"), "time": rfc3339(event.at_ns, 9), "data": data,
    })
}

fn facts(event: &Event, object: &mut Value, etag: &str) {
    if let Some(size) = event.size {
        object["size"] = json!(size);
    }
    if !event.etag.is_empty() {
        object[etag] = json!(event.etag);
    }
    if !event.version.is_empty() {
        object["versionId"] = json!(event.version);
    }
}

/// As S3 writes keys in notifications: a space is a plus, everything but letters, digits and `-_.*` is percent-encoded.
fn form_encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len() + 8);
    for byte in key.bytes() {
        match byte {
            b' ' => text.push('+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte) => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// A time as text with so many digits after the second, cut and not rounded.
pub fn rfc3339(at_ns: u64, digits: usize) -> String {
    let seconds = at_ns / 1_000_000_000;
    let nanoseconds = at_ns % 1_000_000_000;
    let days = seconds / 86_400;
    let in_day = seconds % 86_400;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    let mut day = days;
    while day >= if leap(year) { 366 } else { 365 } {
        day -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let hour = in_day / 3600;
    let minute = in_day / 60 % 60;
    let second = in_day % 60;
    let fraction: String =
        format!(".{nanoseconds:09}").chars().take(if digits == 0 { 0 } else { digits + 1 }).collect();
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_know_them() {
        assert_eq!(rfc3339(0, 0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400_000_000_000, 3), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(1_773_281_277_412_345_678, 9), "2026-03-12T02:07:57.412345678Z");
    }
}
