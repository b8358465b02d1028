//! Readers written by others agree with ours on the same bytes.

use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_lambda_events::s3::S3Event;
use aws_lambda_events::sns::SnsMessage;
use cloudevents::AttributesReader;
use millstream_schemas::objects::{Decoded, Effect, ObjectEvent};

use crate::support::{decode_all, event, fixture};

/// The structs of AWS for Lambda read every notification as we do, apart from what we normalise.
#[test]
fn s3_notifications_agree_with_the_structs_of_aws() {
    let names = [
        "aws.json",
        "captured/ministack-s3-objectcreated-put.json",
        "captured/ministack-s3-objectcreated-copy.json",
        "captured/ministack-s3-objectcreated-completemultipartupload.json",
        "captured/ministack-s3-objectremoved-delete.json",
        "captured/ministack-s3-versioned-objectcreated-put.json",
        "captured/ministack-s3-versioned-objectremoved-delete.json",
        "captured/ministack-s3-versioned-objectremoved-deletemarkercreated.json",
    ];
    let compared: usize = names.iter().map(|name| compare_s3(&fixture(name))).sum();
    assert_eq!(compared, 9);
}

#[test]
fn sns_agrees_with_the_structs_of_aws() {
    for name in ["sns.json", "captured/ministack-s3-via-sns-sqs.json"] {
        let message: SnsMessage = serde_json::from_str(&fixture(name)).unwrap();
        assert_eq!(decode_all(&message.message), decode_all(&fixture(name)));
        assert_eq!(compare_s3(&message.message), 1);
    }
}

fn compare_s3(text: &str) -> usize {
    let theirs: S3Event = serde_json::from_str(text).unwrap();
    let ours = decode_all(text);
    assert_eq!(theirs.records.len(), ours.len());
    let mut compared = 0;
    for (theirs, ours) in theirs.records.iter().zip(&ours) {
        let Decoded::Event(ours) = ours else { continue };
        let object = &theirs.s3.object;
        assert_eq!(theirs.s3.bucket.name.as_deref(), Some(&*ours.bucket));
        let key = object.url_decoded_key.clone().or_else(|| {
            let plus = object.key.clone().unwrap_or_default().replace('+', " ");
            percent_decode(&plus)
        });
        assert_eq!(key.as_deref(), Some(&*ours.key));
        assert_eq!(object.version_id.as_deref().unwrap_or_default(), ours.version_id);
        let sequencer = u64::from_str_radix(object.sequencer.as_deref().unwrap_or("0"), 16).unwrap();
        assert_eq!(sequencer, ours.order.sequencer);
        if ours.effect == Effect::Create {
            assert_eq!(object.size, ours.size);
            assert_eq!(object.e_tag.as_deref(), Some(&*ours.etag));
        }
        close(theirs.event_time.timestamp(), ours);
        compared += 1;
    }
    compared
}

/// The counter of one emitter is seeded by its clock and runs some seconds ahead of the events.
fn close(seconds: i64, ours: &ObjectEvent<'_>) {
    let placed = i64::try_from(ours.order.time >> 32).unwrap();
    assert!((placed - seconds).abs() <= 20, "{placed} {seconds}");
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        bytes.push(u8::from_str_radix(behind.get(..2)?, 16).ok()?);
        rest = &behind[2..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

#[test]
fn event_bridge_agrees_with_the_structs_of_aws() {
    let names = [
        "event_bridge.json",
        "event_bridge_deleted.json",
        "captured/ministack-s3-via-eventbridge-objectcreated.json",
        "captured/ministack-s3-via-eventbridge-objectdeleted.json",
    ];
    for name in names {
        let theirs: EventBridgeEvent<serde_json::Value> = serde_json::from_str(&fixture(name)).unwrap();
        let ours = event(&fixture(name));
        let object = &theirs.detail["object"];
        assert_eq!(theirs.detail["bucket"]["name"], *ours.bucket);
        assert_eq!(object["key"], *ours.key);
        assert_eq!(object["version-id"].as_str().unwrap_or_default(), ours.version_id);
        if ours.effect == Effect::Create {
            assert_eq!(object["size"].as_i64(), ours.size);
            assert_eq!(object["etag"], *ours.etag);
        }
        close(theirs.time.unwrap().timestamp(), &ours);
    }
}

/// What the SDK of CloudEvents reads as attributes and data is what we read.
#[test]
fn cloud_events_agree_with_the_sdk() {
    for name in
        ["cloud_events.json", "cloud_events_base64.json", "plain.json", "plain_deleted.json", "plain_described.json"]
    {
        let theirs: cloudevents::Event = serde_json::from_str(&fixture(name)).unwrap();
        let ours = event(&fixture(name));
        let data: serde_json::Value = match theirs.data().unwrap() {
            cloudevents::Data::Json(data) => data.clone(),
            cloudevents::Data::Binary(bytes) => serde_json::from_slice(bytes).unwrap(),
            cloudevents::Data::String(text) => serde_json::from_str(text).unwrap(),
        };
        // In binary mode the same attributes stand in headers; the SDK says what they are.
        let time = theirs.time().unwrap().to_rfc3339();
        let headers: [(&str, &[u8]); 3] =
            [("ce_specversion", b"1.0"), ("ce_type", theirs.ty().as_bytes()), ("ce_time", time.as_bytes())];
        let limits = millstream_schemas::Limits::default();
        let binary = crate::support::decode_with(
            data.to_string().as_bytes(),
            &headers,
            crate::support::PUBLISHED_AT_MS,
            &limits,
        );
        assert_eq!(binary, vec![Decoded::Event(ours)], "{name}");
    }
}
