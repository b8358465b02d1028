//! Tasks, as the checks must know them, with a fold of their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_connectors::sinks::routing;
use millstream_schemas::Limits;
use millstream_schemas::tasks::{Fact, Key, Kind, Sources};
use millstream_tests::{Database, Generator};
use rand::Rng as _;
use serde_json::json;

use super::domain::Domain;

/// The cluster of the events.
const CLUSTER: &str = "arn:aws:ecs:eu-central-1:111122223333:cluster/models";

pub(crate) struct Tasks;

/// Id, rank, version, addresses and their version.
type Row = (String, i16, i64, Vec<String>, Option<i64>);

/// What an event says of a task.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) version: i64,
    pub(crate) is_stopped: bool,
    pub(crate) address: Option<u8>,
}

/// The one source, as its decoder must know it.
pub(crate) fn decoder() -> routing::Decoder {
    let sources = json!([{ "name": "default", "kind": "ecs", "clusters": [CLUSTER], "network": "vpc" }]);
    let sources: Sources = serde_json::from_value(sources).unwrap();
    routing::Decoder { source: "default".to_owned(), sources: Arc::new(sources), limits: Limits::default() }
}

/// The bytes of an event.
pub(crate) fn payload(told: &Told) -> Bytes {
    let status = if told.is_stopped { "STOPPED" } else { "RUNNING" };
    let interfaces: Vec<_> =
        told.address.iter().map(|last| json!({ "privateIpv4Address": format!("10.0.0.{last}") })).collect();
    json!({
        "detail-type": "ECS Task State Change", "source": "aws.ecs", "time": "2026-12-01T00:00:00Z",
        "detail": {
            "taskArn": format!("arn:aws:ecs:eu-central-1:111122223333:task/models/{}", told.id),
            "clusterArn": CLUSTER,
            "lastStatus": status, "desiredStatus": status, "version": told.version,
            "containers": [{ "name": "model", "networkInterfaces": interfaces }],
        },
    })
    .to_string()
    .into()
}

impl Domain for Tasks {
    type Rows = routing::Tasks;
    type Decoder = routing::Decoder;
    type Event = Told;

    const TABLE: &'static str = "millstream.task";
    const COLUMN: &'static str = "status";
    const GOOD: &'static str = "id NOT LIKE 'poison%'";

    const BYTES_OF_100: u64 = 20_000;

    async fn database() -> Database {
        millstream_tests::database().await
    }

    fn rows() -> routing::Tasks {
        routing::Tasks::default()
    }

    fn decoder() -> routing::Decoder {
        decoder()
    }

    fn random(name: &str, count: usize) -> Vec<Told> {
        let mut generator = Generator::new(name);
        let random = generator.rng();
        let mut told = || {
            let id = format!("task{}", random.random_range(0..100));
            let version = random.random_range(1..8);
            // What one version says is always the same.
            let is_stopped = version > 5;
            Told { id, version, is_stopped, address: (version % 2 == 0).then_some(version as u8) }
        };
        (0..count).map(|_| told()).collect()
    }

    fn numbered(number: u64) -> Told {
        Told { id: format!("in{number:04}"), version: 1, is_stopped: false, address: Some(1) }
    }

    fn poison(number: u64) -> Told {
        Told { id: format!("poison{number:04}"), ..Tasks::numbered(number) }
    }

    fn record(told: &Told) -> (Bytes, Bytes) {
        (told.id.clone().into(), payload(told))
    }

    async fn holds(database: &Database, events: &[Told]) {
        let mut expected: BTreeMap<String, (i16, i64, Vec<String>, Option<i64>)> = BTreeMap::new();
        for told in events {
            let rank = if told.is_stopped { 2 } else { 0 };
            let row = expected.entry(told.id.clone()).or_insert((rank, told.version, Vec::new(), None));
            if (rank, told.version) > (row.0, row.1) {
                row.0 = rank;
                row.1 = told.version;
            }
            if let Some(last) = told.address
                && row.3.is_none_or(|version| told.version > version)
            {
                row.2 = vec![format!("10.0.0.{last}")];
                row.3 = Some(told.version);
            }
        }
        let mut connection = database.connect().await;
        let stored: Vec<Row> =
            sqlx::query_as("SELECT id, rank, version, addresses, address_version FROM millstream.task")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let stored: BTreeMap<_, _> = stored
            .into_iter()
            .map(|(id, rank, version, addresses, told)| (id, (rank, version, addresses, told)))
            .collect();
        assert_eq!(stored, expected);
        log_holds(database).await;
    }
}

/// The log tells the same as the tables: without gaps, each commit with the digest of what was true after it.
pub(crate) async fn log_holds(database: &Database) {
    let mut connection = database.connect().await;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut connection).await.unwrap();
    let log: Vec<(i64, String, Vec<String>, Option<String>)> =
        sqlx::query_as("SELECT seq, kind, key, after::text FROM millstream.route_log ORDER BY seq")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let commits: Vec<(i64, i64)> = sqlx::query_as("SELECT seq, digest FROM millstream.route_commit ORDER BY seq")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let commits: BTreeMap<i64, i64> = commits.into_iter().collect();
    let mut facts = BTreeMap::new();
    for ((seq, kind, key, after), wanted) in log.iter().zip(1..) {
        assert_eq!(*seq, wanted, "no number is missing or twice");
        let kind: Kind = serde_json::from_value(json!(kind)).unwrap();
        let key = Key { kind, columns: key.clone() };
        match after {
            Some(after) => drop(facts.insert(key, Fact::read(kind, after).unwrap())),
            None => drop(facts.remove(&key).expect("what is removed was there")),
        }
        if let Some(digest) = commits.get(seq) {
            let told = facts.values().fold(0, |sum, fact: &Fact| sum ^ fact.digest());
            assert_eq!(digest.cast_unsigned(), told, "the digest of commit {seq}");
        }
    }
    let last = commits.keys().next_back().copied();
    assert_eq!(last, Some(log.len() as i64), "the log ends with a commit");
    let mut stored = Vec::new();
    for kind in Kind::ALL {
        let rows = format!("SELECT to_jsonb(row)::text FROM millstream.{} AS row", kind.as_str());
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(rows)).fetch_all(&mut connection).await.unwrap();
        stored.extend(rows.iter().map(|row| Fact::read(kind, row).unwrap()));
    }
    let stored: BTreeMap<_, _> = stored.into_iter().map(|fact| (fact.key(), fact)).collect();
    assert_eq!(stored, facts, "the tables (left) are what the log (right) says");
}
