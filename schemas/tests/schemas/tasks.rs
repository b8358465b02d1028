//! Task events: every fixture of `fixtures/tasks` decodes to what it says, by every way that it can be sent.

mod damage;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use millstream_schemas::tasks::{Decoded, Source, Sources, TaskEvent, decode};
use millstream_schemas::{Domain, Input, Limits, Piece, Subject, objects, split_binary};
use serde_json::{Value, json};

use crate::support::PUBLISHED_AT_MS;

/// One file of `fixtures/tasks`.
struct Fixture {
    name: String,
    source: String,
    headers: Vec<(String, String)>,
    payload: String,
    expected: Vec<Value>,
}

fn sources() -> &'static Sources {
    static SOURCES: LazyLock<Sources> = LazyLock::new(configured);
    &SOURCES
}

fn configured() -> Sources {
    let batch = "arn:aws:ecs:us-east-1:111122223333:cluster/batch";
    let every = ["task", "instance", "slice", "deploy", "health"];
    serde_json::from_value(json!([
        { "name": "prod", "kind": "ecs", "clusters": [batch], "network": "vpc-1", "cidrs": ["10.0.0.0/16"] },
        { "name": "all", "kind": "ecs", "clusters": [batch], "network": "vpc-1", "may": every },
        { "name": "k8s", "kind": "kubernetes", "clusters": ["5f1c2d3e-4a5b-6c7d-8e9f-0a1b2c3d4e5f"], "network": "pods" },
    ]))
    .unwrap()
}

fn fixtures() -> &'static [Fixture] {
    static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(read_fixtures);
    &FIXTURES
}

fn read_fixtures() -> Vec<Fixture> {
    let directory = format!("{}/fixtures/tasks", env!("CARGO_MANIFEST_DIR"));
    let mut fixtures: Vec<Fixture> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let headers: BTreeMap<String, String> =
                file.get("headers").map(|headers| serde_json::from_value(headers.clone()).unwrap()).unwrap_or_default();
            Fixture {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                source: file["source"].as_str().unwrap().to_owned(),
                headers: headers.into_iter().collect(),
                payload: file["text"].as_str().map_or_else(|| file["payload"].to_string(), str::to_owned),
                expected: file["expect"].as_array().unwrap().clone(),
            }
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(fixtures.len() >= 30);
    fixtures
}

impl Fixture {
    fn headers(&self) -> Vec<(&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
    }

    fn decode(&self, payload: &[u8]) -> Vec<Decoded> {
        decode_with(payload, &self.headers(), sources().get(&self.source))
    }
}

fn decode_with(payload: &[u8], headers: &[(&str, &[u8])], source: Option<&Source>) -> Vec<Decoded> {
    let mut outcomes = Vec::new();
    let input = Input { payload, headers, published_at_ms: PUBLISHED_AT_MS };
    decode(input, source, &Limits::default(), &mut |decoded| outcomes.push(decoded));
    outcomes
}

/// What a fixture would say of an outcome: of a fact only the columns that are not empty.
fn said(decoded: &Decoded) -> Value {
    match decoded {
        Decoded::Filtered { reason, name } => json!({ "filtered": [reason.as_str(), name] }),
        Decoded::Refused(refusal) => json!({ "refused": refusal.reason.as_str() }),
        Decoded::Event(event) => {
            let mut said = json!({ event.fact.kind().as_str(): filled(&serde_json::to_value(&event.fact).unwrap()) });
            if event.is_listed {
                said["listed"] = true.into();
            }
            said
        }
    }
}

fn filled(fact: &Value) -> Value {
    let is_empty = |value: &Value| {
        [json!(null), json!(0), json!(""), json!([]), json!({}), json!(false)].iter().any(|empty| empty == value)
    };
    fact.as_object()
        .unwrap()
        .iter()
        .filter(|(_, value)| !is_empty(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What a fixture expects, with the columns that it says to be empty left out as well.
fn expected(outcome: &Value) -> Value {
    let mut outcome = outcome.clone();
    for value in outcome.as_object_mut().unwrap().values_mut().filter(|value| value.is_object()) {
        *value = filled(value);
    }
    outcome
}

fn events(outcomes: &[Decoded]) -> Vec<&TaskEvent> {
    outcomes
        .iter()
        .filter_map(|decoded| match decoded {
            Decoded::Event(event) => Some(&**event),
            _ => None,
        })
        .collect()
}

/// The records that a fixture is stored as, if it is posted.
fn posted(fixture: &Fixture) -> Vec<(Vec<u8>, Subject<'static>)> {
    let mut records = Vec::new();
    let headers = fixture.headers();
    split_binary(&headers, fixture.payload.as_bytes(), "application/json", &Limits::default(), &mut |piece| {
        if let Piece::Record { payload, subject, .. } = piece {
            records.push((payload.into_owned(), subject.into_owned()));
        }
    });
    records
}

#[test]
fn each_fixture_decodes_to_what_it_says() {
    for fixture in fixtures() {
        let found: Vec<Value> = fixture.decode(fixture.payload.as_bytes()).iter().map(said).collect();
        let expected: Vec<Value> = fixture.expected.iter().map(expected).collect();
        assert_eq!(found, expected, "{}", fixture.name);
    }
}

#[test]
fn what_is_posted_decodes_to_the_same_events_one_by_one() {
    for fixture in fixtures() {
        let whole = fixture.decode(fixture.payload.as_bytes());
        let records = posted(fixture);
        let parts: Vec<Decoded> = records.iter().flat_map(|(payload, _)| fixture.decode(payload)).collect();
        assert_eq!(events(&parts), events(&whole), "{}", fixture.name);
        let is_list = matches!(serde_json::from_str(&fixture.payload).unwrap(), Value::Object(members)
            if members.contains_key("tasks") || members.contains_key("items"));
        assert!(!is_list || events(&whole).len() <= records.len(), "{}", fixture.name);
    }
}

#[test]
fn the_key_of_a_record_is_the_entity_of_its_event_and_its_domain_is_that_of_tasks() {
    for fixture in fixtures() {
        for (payload, subject) in posted(fixture) {
            let outcomes = fixture.decode(&payload);
            if let Some(event) = events(&outcomes).first()
                && matches!(outcomes[0], Decoded::Event(_))
            {
                let mut key = Vec::new();
                subject.append_key(&mut key);
                assert_eq!(String::from_utf8(key).unwrap(), event.entity(), "{}", fixture.name);
                assert_eq!(subject.domain(), Domain::Tasks, "{}", fixture.name);
            }
        }
    }
}

#[test]
fn what_no_domain_knows_is_left_to_objects() {
    let rows = [
        (r#"{"detail-type":"ECS Service Action","detail":{}}"#, Domain::Tasks),
        (r#"{"detail-type":"EC2 Instance State-change Notification","detail":{}}"#, Domain::Objects),
        (r#"{"specversion":"1.0","type":"millstream.health.v2","data":{}}"#, Domain::Objects),
        (r#"{"specversion":"1.0","type":"millstream.health.v1","data":{}}"#, Domain::Tasks),
        (r#"{"apiVersion":"apps/v1","kind":"DeploymentList","items":[{}]}"#, Domain::Tasks),
        (r#"{"type":"BOOKMARK","object":{}}"#, Domain::Tasks),
        (r#"{"tasks":[]}"#, Domain::Tasks),
    ];
    for (body, domain) in rows {
        let mut found = Vec::new();
        millstream_schemas::split(body.as_bytes(), "", &Limits::default(), &mut |piece| {
            if let Piece::Record { subject, .. } = piece {
                found.push(subject.domain());
            }
        });
        assert_eq!(found, [domain], "{body}");
    }
    let mut refused = Vec::new();
    millstream_schemas::split(br#"{"type":"RENAMED","object":{}}"#, "", &Limits::default(), &mut |piece| {
        if let Piece::Refused { reason, .. } = piece {
            refused.push(reason.as_str());
        }
    });
    assert_eq!(refused, ["unknown_shape"]);
}

#[test]
fn the_domain_of_objects_filters_each_task_event_by_name() {
    for fixture in fixtures() {
        let is_of_tasks = fixture
            .expected
            .iter()
            .any(|outcome| ["task", "instance", "slice"].iter().any(|kind| outcome.get(kind).is_some()));
        if !is_of_tasks {
            continue;
        }
        let headers = fixture.headers();
        let input = Input { payload: fixture.payload.as_bytes(), headers: &headers, published_at_ms: PUBLISHED_AT_MS };
        let mut reasons = Vec::new();
        objects::decode(input, &Limits::default(), &mut |decoded| match decoded {
            objects::Decoded::Filtered { reason, name } => {
                assert!(!name.is_empty(), "{}", fixture.name);
                reasons.push(reason.as_str());
            }
            objects::Decoded::Refused(refusal) => reasons.push(refusal.reason.as_str()),
            objects::Decoded::Event(event) => panic!("{}: {event:?}", fixture.name),
        });
        assert!(reasons.contains(&"other_kind"), "{}: {reasons:?}", fixture.name);
        assert!(
            reasons.iter().all(|reason| ["other_kind", "not_json"].contains(reason)),
            "{}: {reasons:?}",
            fixture.name
        );
    }
}

#[test]
fn a_list_of_more_events_than_a_record_may_hold_is_refused_whole_and_split_when_posted() {
    let body = format!(r#"{{"tasks":[],"failures":[{}{{}}]}}"#, "{},".repeat(1000));
    let outcomes = decode_with(body.as_bytes(), &[], None);
    assert_eq!(outcomes.iter().map(said).collect::<Vec<_>>(), [json!({ "refused": "too_many_events" })]);
    let fixture =
        Fixture { name: String::new(), source: String::new(), headers: vec![], payload: body, expected: vec![] };
    assert_eq!(posted(&fixture).len(), 1001);
}

#[test]
fn three_envelopes_around_a_task_are_too_many() {
    let wrap = |text: &str| json!({ "Type": "Notification", "Message": text }).to_string();
    let task = r#"{"taskArn":"x","lastStatus":"RUNNING"}"#;
    let reason = |text: &str| said(&decode_with(text.as_bytes(), &[], None)[0]);
    assert_eq!(reason(&wrap(&wrap(task))), json!({ "refused": "unknown_source" }));
    assert_eq!(reason(&wrap(&wrap(&wrap(task)))), json!({ "refused": "too_many_envelopes" }));
}
