//! Shared by the tests: fixtures by name and decoding into owned outcomes.

use millstream_schemas::objects::{Decoded, FilterReason, ObjectEvent, decode};
use millstream_schemas::{Input, Limits, Piece, RefusalReason, split};

/// 2026-11-24T00:00:00Z, after every fixture.
pub(crate) const PUBLISHED_AT_MS: i64 = 1_795_478_400_000;

pub(crate) fn fixture(name: &str) -> String {
    let path = format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) fn decode_with(
    payload: &[u8],
    headers: &[(&str, &[u8])],
    published_at_ms: i64,
    limits: &Limits,
) -> Vec<Decoded<'static>> {
    let mut outcomes = Vec::new();
    decode(Input { payload, headers, published_at_ms }, limits, &mut |decoded| outcomes.push(decoded.into_owned()));
    outcomes
}

pub(crate) fn decode_all(payload: &str) -> Vec<Decoded<'static>> {
    decode_with(payload.as_bytes(), &[], PUBLISHED_AT_MS, &Limits::default())
}

pub(crate) fn one(payload: &str) -> Decoded<'static> {
    let mut outcomes = decode_all(payload);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes.remove(0)
}

pub(crate) fn event(payload: &str) -> ObjectEvent<'static> {
    match one(payload) {
        Decoded::Event(event) => event,
        other => panic!("not an event: {other:?} from {payload}"),
    }
}

pub(crate) fn refused(decoded: &Decoded<'_>) -> RefusalReason {
    match decoded {
        Decoded::Refused(refusal) => refusal.reason,
        other => panic!("not refused: {other:?}"),
    }
}

pub(crate) fn filtered(decoded: &Decoded<'_>) -> (FilterReason, String) {
    match decoded {
        Decoded::Filtered { reason, name } => (*reason, name.to_string()),
        other => panic!("not filtered: {other:?}"),
    }
}

pub(crate) fn pieces(body: &[u8], content_type: &str, limits: &Limits) -> Vec<Piece<'static>> {
    let mut pieces = Vec::new();
    split(body, content_type, limits, &mut |piece| {
        pieces.push(match piece {
            Piece::Record { index, payload, subject } => {
                Piece::Record { index, payload: payload.into_owned().into(), subject: subject.into_owned() }
            }
            Piece::Refused { index, reason, detail } => Piece::Refused { index, reason, detail },
        });
    });
    pieces
}

/// A notification of AWS with one record whose `object` is given as JSON.
pub(crate) fn aws(name: &str, time: &str, object: &str) -> String {
    format!(
        r#"{{"Records":[{{"eventVersion":"2.6","eventTime":{time:?},"eventName":{name:?},"s3":{{"bucket":{{"name":"b"}},"object":{object}}}}}]}}"#
    )
}

/// A notification of MinIO with one record whose `object` is given as JSON.
pub(crate) fn minio(name: &str, time: &str, object: &str) -> String {
    format!(
        r#"{{"EventName":{name:?},"Key":"b/k","Records":[{{"eventVersion":"2.0","eventSource":"minio:s3","eventTime":{time:?},"eventName":{name:?},"s3":{{"bucket":{{"name":"b"}},"object":{object}}},"source":{{"host":"192.0.2.7","port":"","userAgent":"test"}}}}]}}"#
    )
}

/// A creation with one record whose `object` is given as JSON.
pub(crate) fn created(object: &str) -> String {
    aws("ObjectCreated:Put", "2026-03-12T02:07:57Z", object)
}
