//! The published vectors, read by the crate that publishes them.

use millstream_schemas::objects::{Effect, FilterReason, Order, effect};
use serde_json::Value;

use crate::support::{aws, decode_all, fixture};

fn vectors(name: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(&fixture(name)).unwrap();
    let vectors = document["vectors"].as_array().unwrap().clone();
    assert!(vectors.iter().all(|vector| vector["why"].as_str().is_some_and(|why| !why.is_empty())));
    vectors
}

#[test]
fn order_vectors_hold() {
    for vector in vectors("order_vectors.json") {
        let published = vector["published_at_ms"].as_i64().unwrap();
        let placed = Order::place(vector["time"].as_str(), vector["sequencer"].as_str(), published);
        match (placed, vector["refused"].as_str()) {
            (Ok(order), None) => {
                assert_eq!(order.class.as_str(), vector["class"], "{vector}");
                assert_eq!(order.time.to_string(), vector["fixed_point"], "{vector}");
                assert_eq!(order.sequencer.to_string(), vector["sequencer_number"], "{vector}");
            }
            (Err(refusal), Some(reason)) => assert_eq!(refusal.reason.as_str(), reason, "{vector}"),
            (placed, _) => panic!("{placed:?} for {vector}"),
        }
    }
}

#[test]
fn effect_vectors_hold() {
    for vector in vectors("effect_vectors.json") {
        let name = vector["name"].as_str().unwrap();
        let found = match vector["system"].as_str().unwrap() {
            "event_bridge" => {
                effect::of_detail_type(name, vector["deletion_type"].as_str()).map_err(|(reason, _)| reason)
            }
            "ceph" => effect::of_ceph_name(name, vector["names_version"] == true),
            _ => effect::of_event_name(name),
        };
        match found {
            Ok(effect) => assert_eq!(effect.as_str(), vector["effect"], "{vector}"),
            Err(reason) => assert_eq!(reason.as_str(), vector["filtered"], "{vector}"),
        }
    }
}

/// The table is not only right, it is what decoding uses.
#[test]
fn decoding_follows_the_effect_vectors() {
    for vector in vectors("effect_vectors.json").iter().filter(|vector| vector["system"] != "event_bridge") {
        let name = vector["name"].as_str().unwrap();
        if name.is_empty() {
            continue;
        }
        let object = if vector["names_version"] == true { r#"{"key":"k","versionId":"v1"}"# } else { r#"{"key":"k"}"# };
        let mut record = aws(name, "2026-03-12T02:07:57Z", object);
        if vector["system"] == "ceph" {
            record = record.replacen("\"s3\"", "\"opaqueData\":\"\",\"s3\"", 1);
        }
        let outcomes = decode_all(&record);
        match &outcomes[..] {
            [millstream_schemas::objects::Decoded::Event(event)] => assert_eq!(event.effect.as_str(), vector["effect"]),
            [millstream_schemas::objects::Decoded::Filtered { reason, name: counted }] => {
                assert_eq!(reason.as_str(), vector["filtered"]);
                assert_eq!(counted, name);
            }
            other => panic!("{other:?} for {vector}"),
        }
    }
}

#[test]
fn codes_and_names_are_the_published_ones() {
    let effects = [Effect::Describe, Effect::Create, Effect::Marker, Effect::Delete, Effect::RemoveKey];
    assert_eq!(effects.map(Effect::code), [0, 1, 2, 3, 4]);
    let mut names: Vec<_> = FilterReason::ALL.iter().map(|reason| reason.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FilterReason::ALL.len());
}

#[test]
fn keys_of_the_order_keep_it_beyond_2038() {
    let place = |time: &str| Order::place(Some(time), None, 4_000_000_000_000).unwrap();
    let before = place("2037-12-31T23:59:59Z");
    let after = place("2038-06-01T00:00:00Z");
    assert!(before < after);
    assert!(before.time_key() < 0 && 0 < after.time_key());
    assert!(before.sequencer_key() == i64::MIN, "no sequencer ranks lowest");
}

#[test]
fn undated_ranks_below_every_timed_event() {
    let undated = Order::place(None, Some("FFFFFFFFFFFFFFFF"), i64::MAX).unwrap();
    let earliest = Order::place(Some("1970-01-01T00:00:01Z"), Some("0"), 0).unwrap();
    assert!(undated < earliest, "{undated:?} {earliest:?}");
    assert!(undated.time_key() < earliest.time_key());
    let earlier = Order::place(None, None, 5_000).unwrap();
    let later = Order::place(None, None, 6_000).unwrap();
    assert!(earlier < later);
}
