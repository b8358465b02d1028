//! For any input at all, each event ends in exactly one of three ways, and nothing panics.

use millstream_schemas::{Limits, Piece, split};
use proptest::prelude::*;
use serde_json::Value;

use super::{decode_with, fixtures, said, sources};

/// Decodes and splits; the number of outcomes, which must not be 0.
fn outcomes(payload: &[u8], headers: &[(&str, &[u8])]) -> usize {
    let counts = ["prod", "all", "k8s", "nobody"].map(|name| decode_with(payload, headers, sources().get(name)).len());
    let mut pieces = 0;
    split(payload, "", &Limits::default(), &mut |piece| {
        pieces += 1;
        if let Piece::Record { payload, subject, .. } = piece {
            let mut key = Vec::new();
            subject.append_key(&mut key);
            assert!(key.len() <= 2048 && !decode_with(&payload, headers, sources().get("all")).is_empty());
        }
    });
    counts.into_iter().chain([pieces]).min().unwrap_or_default()
}

/// Replaces one value of a document, counted in its order, by another.
fn replace(value: &mut Value, left: &mut usize, by: &Value) {
    if *left == 0 {
        *value = by.clone();
    }
    *left = left.wrapping_sub(1);
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, left, by)),
        Value::Object(members) => members.values_mut().for_each(|value| replace(value, left, by)),
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,8}".prop_map(Into::into),
        Just("\u{0}".into()),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        Just(serde_json::json!([[{ "a": [1] }], 2, "x"])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_an_outcome(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(outcomes(&payload, &[]) > 0);
        prop_assert!(outcomes(&payload, &[("ce_specversion", b"1.0"), ("ce_type", b"millstream.task.v1")]) > 0);
        prop_assert!(outcomes(b"[]", &[("millstream-epoch", &payload)]) > 0);
    }

    #[test]
    fn any_damage_to_a_fixture_gives_an_outcome(
        number in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_u8..3), 1..6),
    ) {
        let fixture = number.get(fixtures());
        let mut payload = fixture.payload.clone().into_bytes();
        for (index, byte, how) in edits {
            let at = index.index(payload.len());
            match how {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ => payload.truncate(at.max(1)),
            }
        }
        prop_assert!(outcomes(&payload, &fixture.headers()) > 0);
    }

    /// One outcome for each event, whatever stands in the place of one value.
    #[test]
    fn any_value_of_a_fixture_may_be_any_other(
        number in any::<prop::sample::Index>(),
        at in 0_usize..80,
        by in any_value(),
    ) {
        let fixture = number.get(fixtures());
        let mut payload: Value = serde_json::from_str(&fixture.payload).unwrap();
        replace(&mut payload, &mut { at }, &by);
        prop_assert!(outcomes(payload.to_string().as_bytes(), &fixture.headers()) > 0);
    }

    /// The outcomes of the elements of a list do not depend on each other.
    #[test]
    fn a_bad_element_does_not_affect_its_neighbours(
        edits in prop::collection::vec((0_usize..60, any_value()), 1..5),
    ) {
        let file = fixtures().iter().find(|fixture| fixture.name == "ecs_describe_tasks").unwrap();
        let list: Value = serde_json::from_str(&file.payload).unwrap();
        let good = &list["tasks"][0];
        let tasks: Vec<Value> = edits.iter().map(|(at, by)| {
            let mut task = good.clone();
            replace(&mut task, &mut { *at }, by);
            task
        }).collect();
        let alone = |task: &Value| {
            let payload = serde_json::json!({ "tasks": [task], "failures": [] }).to_string();
            decode_with(payload.as_bytes(), &[], sources().get("prod")).iter().map(said).collect::<Vec<_>>()
        };
        let together = serde_json::json!({ "tasks": tasks, "failures": [] }).to_string();
        let together: Vec<Value> =
            decode_with(together.as_bytes(), &[], sources().get("prod")).iter().map(said).collect();
        let expected: Vec<Value> = tasks.iter().flat_map(alone).collect();
        prop_assert_eq!(together, expected);
    }
}
