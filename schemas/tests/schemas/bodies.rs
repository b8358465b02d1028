//! HTTP bodies: every way to send several events gives the records that sending them one by one would give.

use millstream_schemas::objects::Decoded;
use millstream_schemas::{Limits, Piece, RefusalReason, Subject, split_binary};

use crate::support::{created, decode_all, fixture, pieces};

fn record(piece: &Piece<'_>) -> (usize, String, String, String) {
    match piece {
        Piece::Record { index, payload, subject: Subject::Object(entity) } => {
            let bucket = entity.bucket.to_string();
            let key = entity.key.to_string();
            (*index, String::from_utf8(payload.to_vec()).unwrap(), bucket, key)
        }
        other => panic!("{other:?}"),
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

/// What became of each part: the key of a record, or the reason of a refusal, in the order of their indexes.
fn parts(body: &[u8], content_type: &str) -> Vec<String> {
    let found = pieces(body, content_type, &Limits::default());
    found
        .iter()
        .enumerate()
        .map(|(number, piece)| match piece {
            Piece::Record { index, subject: Subject::Object(entity), .. } => {
                assert_eq!(*index, number);
                entity.key.to_string()
            }
            Piece::Refused { index, reason, .. } => {
                assert_eq!(*index, number);
                format!("! {reason}")
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

const TYPES: [&str; 4] = ["application/json", "", "text/plain", "application/x-ndjson"];

#[test]
fn documents_need_no_line_of_their_own() {
    let texts = ["a", "b", "c"].map(|key| created(&format!(r#"{{"key":"{key}"}}"#)));
    let pretty = texts
        .clone()
        .map(|text| serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&text).unwrap()).unwrap());
    for separator in ["", " ", "\n", "\r\n", "\n\n", "\t", "\n\u{1e}", "\u{feff}", "\n  "] {
        for texts in [&texts, &pretty] {
            let body = texts.join(separator);
            for body in [body.clone(), format!("{body}\n"), format!("\u{feff}{body}"), format!(" \n{body} \n ")] {
                for content_type in TYPES {
                    assert_eq!(parts(body.as_bytes(), content_type), ["a", "b", "c"], "{content_type}: {body:?}");
                }
            }
        }
    }
    // Each payload is its document and nothing else.
    let body = pretty.join("");
    let payloads: Vec<String> = split(&body, "application/json").iter().map(|piece| record(piece).1).collect();
    assert_eq!(payloads, pretty);
}

#[test]
fn documents_of_every_kind_stand_beside_each_other() {
    let good = created(r#"{"key":"k"}"#);
    let several = fixture("aws.json");
    let body = format!("{good}{several}[{good},{good}] [] 7 {good}[{good}]");
    for content_type in TYPES {
        let expected = [
            "k",
            "in/red flower+1.jpg",
            "in/old.jpg",
            "in/tagged.jpg",
            "k",
            "k",
            "! unknown_shape",
            "! unknown_shape",
            "k",
            "k",
        ];
        let found = parts(body.as_bytes(), content_type);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        let same = |(found, expected): (&String, &&str)| found == expected || *expected == "in/tagged.jpg";
        assert!(found.iter().zip(&expected).all(same), "{found:?}");
    }
    assert_eq!(parts(format!("[]{good}").as_bytes(), ""), ["! unknown_shape", "k"]);
}

#[test]
fn a_broken_document_hides_no_other() {
    let good = created(r#"{"key":"k"}"#);
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(&good).unwrap()).unwrap();
    let broken = pretty.replacen("\"b\"", "\"b", 1);
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(70), "]".repeat(70));
    let not_json = "! not_json";
    let rows: Vec<(String, Vec<&str>)> = vec![
        (format!("{good}\n{{\n{good}"), vec!["k", not_json, "k"]),
        (format!("{good}\n{{\"a\":\n{good}\n{good}"), vec!["k", not_json, "k", "k"]),
        (format!("{good}nonsense\n{good}"), vec!["k", not_json, "k"]),
        (format!("{good}\n{good}}}\n{good}"), vec!["k", "k", not_json, "k"]),
        (format!("{good}\n{{"), vec!["k", not_json]),
        (format!("{good}{deep}{good}"), vec!["k", "! json_too_deep", "k"]),
        (format!("{deep}\n{good}"), vec!["! json_too_deep", "k"]),
        (format!("{good}\n{deep}"), vec!["k", "! json_too_deep"]),
    ];
    for (body, expected) in rows {
        for content_type in TYPES {
            assert_eq!(parts(body.as_bytes(), content_type), expected, "{content_type}: {body:.200}");
        }
    }
    // Lines that belong to a broken document are not documents of their own, unless the body says that it is lines.
    let body = format!("{good}\n{broken}\n{pretty}\n{good}");
    assert_eq!(parts(body.as_bytes(), "application/json"), ["k", not_json, "k", "k"]);
    // A body that cannot be read from its beginning is refused as a whole.
    for body in [format!("nonsense\n{good}"), format!("{broken}\n{good}"), format!("[{good}\n{good}]")] {
        assert_eq!(parts(body.as_bytes(), "application/json"), [not_json], "{body:.100}");
    }
    assert_eq!(parts(&deep.into_bytes(), "application/json"), ["! json_too_deep"]);
    assert_eq!(parts("\u{feff}".as_bytes(), "application/json"), [not_json]);
}

/// The last line counts like any other, with a newline behind it or without one.
#[test]
fn a_refused_last_line_is_named() {
    let good = created(r#"{"key":"k"}"#);
    for (last, reason) in
        [("{}", "! unknown_shape"), ("{", "! not_json"), ("nonsense", "! not_json"), ("7", "! unknown_shape")]
    {
        for end in ["", "\n", "\r\n", "\n\n"] {
            for content_type in TYPES {
                let body = format!("{good}\n{good}\n{last}{end}");
                assert_eq!(
                    parts(body.as_bytes(), content_type),
                    ["k", "k", reason],
                    "{content_type}: {last:?} {end:?}"
                );
            }
            let body = [good.as_bytes(), b"\n{\"\xff\":1}", end.as_bytes()].concat();
            assert_eq!(parts(&body, "application/x-ndjson"), ["k", "! invalid_utf8"]);
            let body = [b"{\"\xff\":1}\n", good.as_bytes(), b"\n", last.as_bytes(), end.as_bytes()].concat();
            assert_eq!(parts(&body, "application/x-ndjson"), ["! invalid_utf8", "k", reason]);
        }
    }
}

#[test]
fn places_are_told_within_their_document() {
    let good = created(r#"{"key":"k"}"#);
    for content_type in TYPES {
        let found = split(&format!("{good}\n{{\"a\":x}}"), content_type);
        let Piece::Refused { index, detail, .. } = &found[1] else { panic!("{found:?}") };
        assert_eq!((*index, detail.as_str()), (1, "at byte 5"), "{content_type}");
    }
}

#[test]
fn a_line_over_the_limit_of_a_record_is_too_large() {
    let limits = Limits { record_bytes_max: 300, json_string_bytes_max: 100, ..Limits::default() };
    let good = created(r#"{"key":"k"}"#);
    let large = created(&format!(r#"{{"key":"k","x":"{}"}}"#, "a".repeat(400)));
    for content_type in TYPES {
        let found = pieces(format!("{good}\n{large}\n{good}").as_bytes(), content_type, &limits);
        assert!(
            matches!(&found[1], Piece::Refused { index: 1, reason: RefusalReason::RecordTooLarge, .. }),
            "{found:?}"
        );
        assert_eq!((found.len(), record(&found[2]).0), (3, 2));
    }
}

/// Whatever a body holds, it is read a few times at most: each of these made reading go with the square of its size.
#[test]
fn a_hostile_body_costs_no_more_than_another() {
    let lines = 200_000;
    let limits = Limits { parts_per_body_max: usize::MAX, ..Limits::default() };
    let good = created(r#"{"key":"k"}"#);
    for line in [
        "{\"a\":\n",
        "[\n",
        "{\n",
        "[[1,\n",
        "{\"a\":[1,2,3,\n",
        "1,\n",
        "\"a\n",
        "{\"a\":\"\n",
        "]\n",
        "1\n",
        "{}\n",
        "[]\n",
        "[{},\n",
    ] {
        let body = format!("{good}\n{}", line.repeat(lines));
        for content_type in TYPES {
            let began = std::time::Instant::now();
            let mut emitted = 0;
            millstream_schemas::split(body.as_bytes(), content_type, &limits, &mut |_| emitted += 1);
            assert!(emitted >= 2, "{line:?}");
            // A square would take minutes.
            assert!(began.elapsed().as_secs() < 20, "{line:?} {content_type}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn messages_of_a_batch_are_records_keyed_by_what_they_carry() {
    let first = created(r#"{"key":"first"}"#);
    let second = fixture("ceph.json");
    let message = |inner: &str| serde_json::json!({ "messageId": "m", "receiptHandle": "r", "body": inner });
    let sns = |inner: &str| serde_json::json!({ "Sns": { "Type": "Notification", "Message": inner } });
    let in_sns = serde_json::json!({ "Type": "Notification", "Message": second }).to_string();
    let messages = [message(&first), message(&second), message(&in_sns), sns(&second), message("hello")];
    let keys = ["first", "in/a+b 100%.jpg", "in/a+b 100%.jpg", "in/a+b 100%.jpg", ""];
    let bodies = [serde_json::json!({ "Records": messages }).to_string(), serde_json::json!(messages).to_string()];
    for body in bodies {
        let found = split(&body, "application/json");
        assert_eq!(found.iter().map(|piece| record(piece).3).collect::<Vec<_>>(), keys);
        let decoded: Vec<_> = found.iter().flat_map(|piece| decode_all(&record(piece).1)).collect();
        assert_eq!(decoded[..4], [&first, &second, &second, &second].map(|text| decode_all(text)).concat()[..]);
        assert!(matches!(decoded[4], Decoded::Refused(_)));
    }
}

/// The entity that decides the partition is the one that is decoded, in every envelope.
#[test]
fn the_entity_is_that_of_the_first_event_inside() {
    let base64 = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(text)
    };
    for name in [
        "aws_record.json",
        "minio.json",
        "ceph.json",
        "scality.json",
        "event_bridge.json",
        "cloud_events.json",
        "plain.json",
    ] {
        let text = fixture(name);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wrapped = [
            serde_json::json!({ "Type": "Notification", "Message": text }),
            serde_json::json!({ "Records": [{ "messageId": "m", "body": text }] }),
            serde_json::json!({ "messageId": "m", "body": document }),
            serde_json::json!({ "message": { "data": base64(&text) }, "subscription": "s" }),
            serde_json::json!({ "detail-type": "other", "detail": { "Records": [document] } }),
            serde_json::json!({ "specversion": "1.0", "type": "com.amazonaws.s3.ObjectCreated:Put", "data": document }),
            serde_json::json!({ "specversion": "1.0", "type": "com.amazonaws.ObjectCreated:Put", "data_base64": base64(&text) }),
        ];
        for body in wrapped.map(|body| body.to_string()) {
            let Decoded::Event(event) = &decode_all(&body)[0] else { continue };
            let (_, _, bucket, key) = record(&split(&body, "application/json")[0]);
            assert_eq!((bucket.as_str(), key.as_str()), (&*event.bucket, &*event.key), "{body}");
        }
    }
}

/// Records that do not sign themselves stay in the document that tells their store.
#[test]
fn a_notification_of_minio_is_split_only_where_its_records_sign_themselves() {
    let signed = crate::support::minio("s3:ObjectCreated:Put", "2026-03-12T02:07:57Z", r#"{"key":"a"}"#);
    let mut document: serde_json::Value = serde_json::from_str(&signed).unwrap();
    let record_value = document["Records"][0].clone();
    document["Records"].as_array_mut().unwrap().push(record_value);
    assert_eq!(split(&document.to_string(), "").len(), 2);
    for record in document["Records"].as_array_mut().unwrap() {
        let members = record.as_object_mut().unwrap();
        members.remove("source");
        members.remove("eventSource");
    }
    let text = document.to_string();
    let found = split(&text, "");
    assert_eq!(found.len(), 1);
    let sizes: Vec<_> = decode_all(&record(&found[0]).1)
        .into_iter()
        .map(|decoded| match decoded {
            Decoded::Event(event) => event.size,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [Some(0), Some(0)]);
}

#[test]
fn a_structured_cloud_event_is_split_whatever_headers_stand_beside_it() {
    let text = fixture("plain.json");
    let headers: [(&str, &[u8]); 2] = [("ce-specversion", b"1.0"), ("ce-type", b"millstream.object.created")];
    let body = format!("[{text},{text}]");
    let rows = [
        ("application/cloudevents+json; charset=utf-8", &text, 1),
        ("APPLICATION/CloudEvents+JSON", &text, 1),
        ("application/cloudevents-batch+json", &body, 2),
    ];
    for (content_type, body, expected) in rows {
        let mut found = Vec::new();
        split_binary(&headers, body.as_bytes(), content_type, &Limits::default(), &mut |piece| {
            found.push(record(&piece))
        });
        assert_eq!(found.len(), expected, "{content_type}");
        assert!(found.iter().all(|found| found.3 == "in/red flower+1.jpg" && found.1 == text.trim()));
    }
}
