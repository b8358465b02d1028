//! A table of keys and values: the smallest domain there is. The largest value of a key stays, and each row is counted once,
//! in the transaction that makes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;
use millstream_connectors::sinks::tables::Events;
use millstream_connectors::sinks::tables::columns::{Refused, Settled};
use millstream_connectors::sinks::tables::error::Fault;
use millstream_connectors::sinks::tables::rows::{Applied, Care, Include, Rows};
use millstream_engine::decode::Columns;
use millstream_engine::{Decode, Record, SinkError};
use millstream_postgres::Connection;
use millstream_tests::{Database, Generator};
use rand::Rng as _;
use serde_json::json;

use super::domain::Domain;

const TABLES: &str = "
    CREATE TABLE millstream.key_value (key text PRIMARY KEY, value bigint NOT NULL);
    CREATE TABLE millstream.key_value_count (rows bigint NOT NULL);
    INSERT INTO millstream.key_value_count VALUES (0)";

/// The domain, and its decoder: a record is `{"key": TEXT, "value": NUMBER}`, or `{}` for nothing.
#[derive(Debug)]
pub(crate) struct KeyValues;

/// Pairs, each with the record it came in.
#[derive(Debug, Default)]
pub(crate) struct Pairs {
    pairs: Vec<(u32, String, i64)>,
    settled: Settled,
}

impl Columns for Pairs {
    fn events(&self) -> usize {
        self.pairs.len() + self.settled.events() as usize
    }

    fn unpacked_bytes(&self) -> usize {
        self.pairs.iter().map(|(_, key, _)| key.len() + size_of::<(u32, String, i64)>()).sum()
    }
}

impl Events for Pairs {
    fn settled(&self) -> &Settled {
        &self.settled
    }

    fn records(&self) -> impl Iterator<Item = u32> {
        self.pairs.iter().map(|(record, ..)| *record)
    }
}

impl Decode for KeyValues {
    type Columns = Pairs;

    fn share<'a>(&'a self, _: &'a Record) -> &'a str {
        "default"
    }

    fn decode(&self, records: &[Record], aside: &[bool]) -> Pairs {
        let mut pairs = Pairs::default();
        for (record, number) in records.iter().zip(0u32..) {
            if aside.get(number as usize).copied().unwrap_or_default() {
                pairs.settled.put_aside(number);
                continue;
            }
            match serde_json::from_slice::<BTreeMap<String, serde_json::Value>>(&record.payload) {
                Ok(members) if members.is_empty() => pairs.settled.filter("nothing", ""),
                Ok(members) => {
                    let key = members.get("key").and_then(|key| key.as_str()).unwrap_or_default().to_owned();
                    pairs.pairs.push((number, key, members.get("value").and_then(|v| v.as_i64()).unwrap_or_default()));
                }
                Err(error) => pairs.settled.refused.push(Refused {
                    record: number,
                    index: 0,
                    events: 1,
                    reason: "bad_json",
                    detail: error.to_string(),
                }),
            }
        }
        pairs
    }
}

#[async_trait]
impl Rows for KeyValues {
    type Columns = Pairs;
    /// Rows that were made.
    type Left = i64;

    fn settings(&self) -> &'static str {
        ""
    }

    async fn before(&mut self, _: &mut Connection) -> Result<(), SinkError> {
        Ok(())
    }

    async fn enter(&mut self, _: &mut Connection, _: &Pairs) -> Result<(), Fault> {
        Ok(())
    }

    async fn apply(
        &mut self,
        connection: &mut Connection,
        columns: &Pairs,
        include: Include<'_>,
        care: Care,
    ) -> Result<Applied<i64>, Fault> {
        let mut applied = Applied::<i64>::default();
        let mut largest: BTreeMap<&str, i64> = BTreeMap::new();
        for (_, key, value) in columns.pairs.iter().filter(|(record, ..)| include.has(*record)) {
            let seen = largest.insert(key, *value);
            if let Some(seen) = seen {
                applied.outcome.filter("stale", 1);
                largest.insert(key, seen.max(*value));
            }
        }
        let (keys, values): (Vec<&str>, Vec<i64>) = largest.into_iter().unzip();
        // The fast way knows only new keys, as COPY does.
        let otherwise = match care {
            Care::Optimistic => "",
            Care::Locked => {
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE excluded.value > key_value.value"
            }
        };
        let statement = format!(
            "INSERT INTO millstream.key_value AS key_value SELECT * FROM unnest($1::text[], $2::bigint[])
             {otherwise} RETURNING xmax = 0"
        );
        let made = sqlx::query_scalar::<_, bool>(sqlx::AssertSqlSafe(statement)).bind(&keys).bind(values);
        let made = match made.fetch_all(connection).await {
            Err(sqlx::Error::Database(error)) if error.constraint() == Some("key_value_pkey") => {
                return Err(Fault::Again);
            }
            made => made.map_err(Fault::data)?,
        };
        applied.outcome.written = made.len() as u64;
        applied.outcome.filter("stale", (keys.len() - made.len()) as u64);
        applied.left = made.iter().filter(|is_new| **is_new).count() as i64;
        Ok(applied)
    }

    async fn finish(&mut self, connection: &mut Connection, made: i64) -> Result<(), Fault> {
        let count = sqlx::query("UPDATE millstream.key_value_count SET rows = rows + $1").bind(made);
        count.execute(connection).await.map(drop).map_err(Fault::ours)
    }

    fn committed(&mut self) {}

    fn rolled_back(&mut self) {}
}

/// A database with the tables.
pub(crate) async fn database() -> Database {
    let database = millstream_tests::database().await;
    database.execute(TABLES).await;
    database
}

/// The bytes of a pair.
pub(crate) fn payload(key: &str, value: i64) -> Bytes {
    json!({"key": key, "value": value}).to_string().into()
}

impl Domain for KeyValues {
    type Rows = KeyValues;
    type Decoder = KeyValues;
    type Event = (String, i64);

    const TABLE: &'static str = "millstream.key_value";
    const COLUMN: &'static str = "value";
    const GOOD: &'static str = "key NOT LIKE 'poison%'";

    const BYTES_OF_100: u64 = 3_000;

    async fn database() -> Database {
        database().await
    }

    fn rows() -> KeyValues {
        KeyValues
    }

    fn decoder() -> KeyValues {
        KeyValues
    }

    fn random(name: &str, count: usize) -> Vec<(String, i64)> {
        let mut generator = Generator::new(name);
        let random = generator.rng();
        (0..count).map(|_| (format!("key{}", random.random_range(0..200)), random.random_range(0..1_000))).collect()
    }

    fn numbered(number: u64) -> (String, i64) {
        (format!("in{number:04}"), 1)
    }

    fn poison(number: u64) -> (String, i64) {
        (format!("poison{number:04}"), 1)
    }

    fn record((key, value): &(String, i64)) -> (Bytes, Bytes) {
        (key.clone().into(), payload(key, *value))
    }

    async fn holds(database: &Database, events: &[(String, i64)]) {
        let mut expected: BTreeMap<String, i64> = BTreeMap::new();
        for (key, value) in events {
            let largest = expected.entry(key.clone()).or_insert(*value);
            *largest = (*largest).max(*value);
        }
        let mut connection = database.connect().await;
        let stored: Vec<(String, i64)> =
            sqlx::query_as("SELECT key, value FROM millstream.key_value").fetch_all(&mut connection).await.unwrap();
        let rows = stored.len() as i64;
        assert_eq!(stored.into_iter().collect::<BTreeMap<_, _>>(), expected);
        assert_eq!(database.number("SELECT rows FROM millstream.key_value_count").await, rows, "each counted once");
    }
}
