//! HTTP bodies: every way to send several events gives the records that sending them one by one would give.

use millstream_schemas::{Decoded, Limits, Piece, RefusalReason, split_binary};

use crate::support::{created, decode_all, fixture, pieces};

fn record(piece: &Piece<'_>) -> (usize, String, String, String) {
    match piece {
        Piece::Record { index, payload, bucket, key } => {
            (*index, String::from_utf8(payload.to_vec()).unwrap(), bucket.to_string(), key.to_string())
        }
        refused @ Piece::Refused { .. } => panic!("{refused:?}"),
    }
}

fn split(body: &str, content_type: &str) -> Vec<Piece<'static>> {
    pieces(body.as_bytes(), content_type, &Limits::default())
}

const SINGLES: &[&str] =
    &["aws_record.json", "event_bridge.json", "sns.json", "minio.json", "ceph.json", "cloud_events.json", "plain.json"];

#[test]
fn a_document_passes_unchanged_with_the_entity_it_decodes_to() {
    for name in SINGLES {
        let text = fixture(name);
        let found = split(&text, "application/json; charset=utf-8");
        assert_eq!(found.len(), 1);
        let (index, payload, bucket, key) = record(&found[0]);
        assert_eq!((index, payload.as_str()), (0, text.trim()), "{name}");
        let Decoded::Event(event) = &decode_all(&text)[0] else { panic!("{name}") };
        assert_eq!((bucket.as_str(), key.as_str()), (&*event.bucket, &*event.key), "{name}");
    }
}

#[test]
fn arrays_and_lines_give_one_record_each() {
    let texts: Vec<String> = SINGLES
        .iter()
        .map(|name| serde_json::from_str::<serde_json::Value>(&fixture(name)).unwrap().to_string())
        .collect();
    let array = format!(" [ {} ]\n", texts.join(" , "));
    let lines = format!("\n{}\r\n\n", texts.join("\r\n"));
    let bodies = [
        (array.as_str(), "application/cloudevents-batch+json"),
        (&array, "application/json"),
        (&lines, "application/x-ndjson"),
        (&lines, "application/json"),
        (&lines, ""),
    ];
    for (body, content_type) in bodies {
        let found = split(body, content_type);
        assert_eq!(found.len(), texts.len(), "{content_type}");
        for (index, (piece, text)) in found.iter().zip(&texts).enumerate() {
            let (found_index, payload, ..) = record(piece);
            assert_eq!((found_index, &payload), (index, text));
        }
    }
}

#[test]
fn a_notification_becomes_one_bare_record_each() {
    let text = fixture("aws.json");
    let found = split(&text, "application/json");
    let decoded: Vec<_> = found.iter().flat_map(|piece| decode_all(&record(piece).1)).collect();
    assert_eq!(decoded, decode_all(&text));
    assert_eq!(record(&found[1]).3, "in/old.jpg");
    // The dialect of a bare record is still told: MinIO and Ceph sign their records.
    for name in ["minio.json", "ceph.json"] {
        let mut document: serde_json::Value = serde_json::from_str(&fixture(name)).unwrap();
        let first = document["Records"][0].clone();
        document["Records"].as_array_mut().unwrap().push(first);
        let text = document.to_string();
        let decoded: Vec<_> =
            split(&text, "application/json").iter().flat_map(|piece| decode_all(&record(piece).1)).collect();
        assert_eq!(decoded, decode_all(&text), "{name}");
    }
}

#[test]
fn only_what_can_never_be_a_record_is_refused() {
    let rows: &[(&str, &str, &[Option<RefusalReason>])] = &[
        ("", "application/json", &[Some(RefusalReason::NotJson)]),
        (" \n", "application/x-ndjson", &[Some(RefusalReason::NotJson)]),
        ("[]", "application/json", &[Some(RefusalReason::UnknownShape)]),
        ("{}", "application/json", &[Some(RefusalReason::UnknownShape)]),
        ("hello", "text/plain", &[Some(RefusalReason::NotJson)]),
        ("[{\"Records\":[]},7,{}]", "", &[None, Some(RefusalReason::UnknownShape), Some(RefusalReason::UnknownShape)]),
        ("{\"Records\":[]}\n{\n{\"Records\":[]}", "application/x-ndjson", &[None, Some(RefusalReason::NotJson), None]),
        ("[{\"Records\":[]},{\"Records\":[]}", "", &[Some(RefusalReason::NotJson)]),
        // Judged by the pipeline, not by HTTP.
        ("{\"Records\":[{\"s3\":{\"object\":{\"key\":7,\"size\":-1}}}]}", "", &[None]),
        ("{\"Event\":\"s3:TestEvent\"}", "", &[None]),
        ("{\"detail-type\":\"ECS Task State Change\"}", "", &[None]),
    ];
    for (body, content_type, expected) in rows {
        let reasons: Vec<_> = split(body, content_type)
            .into_iter()
            .map(|piece| match piece {
                Piece::Record { .. } => None,
                Piece::Refused { reason, .. } => Some(reason),
            })
            .collect();
        assert_eq!(&reasons, expected, "{body}");
    }
}

#[test]
fn a_line_that_is_not_utf8_does_not_hide_the_others() {
    let good = created(r#"{"key":"k"}"#);
    let body = [good.as_bytes(), b"\n{\"\xff\":1}\n", good.as_bytes()].concat();
    let found = pieces(&body, "application/x-ndjson", &Limits::default());
    assert!(matches!(&found[1], Piece::Refused { index: 1, reason: RefusalReason::InvalidUtf8, .. }), "{found:?}");
    assert_eq!((record(&found[0]).0, record(&found[2]).0), (0, 2));
}

#[test]
fn binary_mode_keeps_the_body_and_finds_the_entity() {
    let structured: serde_json::Value = serde_json::from_str(&fixture("plain.json")).unwrap();
    let body = structured["data"].to_string();
    let headers: [(&str, &[u8]); 2] = [("ce-specversion", b"1.0"), ("ce-type", b"millstream.object.created")];
    let mut found = Vec::new();
    split_binary(&headers, body.as_bytes(), "application/json", &Limits::default(), &mut |piece| {
        found.push(record(&piece));
    });
    assert_eq!(found, vec![(0, body.clone(), "uploads".into(), "in/red flower+1.jpg".into())]);
    let mut refused = 0;
    split_binary(&headers, b"no", "", &Limits::default(), &mut |piece| {
        assert!(matches!(piece, Piece::Refused { reason: RefusalReason::NotJson, .. }));
        refused += 1;
    });
    assert_eq!(refused, 1);
}

#[test]
fn a_body_of_too_many_parts_says_so_in_its_last_piece() {
    let limits = Limits { parts_per_body_max: 3, ..Limits::default() };
    let event = created(r#"{"key":"k"}"#);
    let too_many = |piece: &Piece<'_>| matches!(piece, Piece::Refused { reason: RefusalReason::TooManyParts, .. });
    for parts in [2, 3, 4, 1000] {
        let events = vec![event.as_str(); parts];
        let array = pieces(format!("[{}]", events.join(",")).as_bytes(), "application/json", &limits);
        let lines = pieces(events.join("\n").as_bytes(), "application/x-ndjson", &limits);
        if parts <= 3 {
            assert!(array.len() == parts && lines.len() == parts && !array.iter().chain(&lines).any(too_many));
        } else {
            // An array is refused as a whole; lines are told as they are read.
            assert!(array.len() == 1 && too_many(&array[0]), "{parts}: {} pieces", array.len());
            assert!(lines.len() == 4 && too_many(&lines[3]), "{parts}: {} pieces", lines.len());
        }
    }
}
