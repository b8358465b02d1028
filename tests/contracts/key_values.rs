//! The writer of tables over rows that are no objects.

use async_trait::async_trait;
use bytes::Bytes;
use millstream_connectors::sinks::tables::Writer;
use millstream_engine::testing::sink::{Fixture, Stored};
use millstream_engine::{Decode, Sink};
use millstream_tests::{Database, stream};

use super::kept::kept;
use crate::tables::key_values::{self, KeyValues, Pairs, payload};

millstream_engine::sink_contract!(KeyValueTables::new().await);

/// A table of keys and values that refuses what no decoder can foresee.
struct KeyValueTables {
    database: Database,
}

impl KeyValueTables {
    async fn new() -> Self {
        let database = key_values::database().await;
        database.execute("ALTER TABLE millstream.key_value ADD CONSTRAINT picky CHECK (key <> 'poison')").await;
        KeyValueTables { database }
    }
}

#[async_trait]
impl Fixture for KeyValueTables {
    type Columns = Pairs;

    fn decoder(&self) -> Box<dyn Decode<Columns = Pairs>> {
        Box::new(KeyValues)
    }

    async fn open(&mut self) -> Box<dyn Sink<Columns = Pairs>> {
        Box::new(Writer::new(stream::options("objects", "contract", self.database.options()), KeyValues))
    }

    fn good(&self, number: u64) -> Bytes {
        payload(&format!("{number}"), 1)
    }

    fn bad(&self) -> Vec<Bytes> {
        vec![Bytes::from_static(b"{nonsense"), payload("poison", 1)]
    }

    fn filtered(&self) -> Bytes {
        Bytes::from_static(b"{}")
    }

    async fn stored(&mut self) -> Stored {
        let mut connection = self.database.connect().await;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        sqlx::raw_sql(begin).execute(&mut connection).await.unwrap();
        let written = "SELECT key::bigint FROM millstream.key_value ORDER BY 1";
        let written: Vec<i64> = sqlx::query_scalar(written).fetch_all(&mut connection).await.unwrap();
        let effects = "SELECT rows FROM millstream.key_value_count";
        let effects: i64 = sqlx::query_scalar(effects).fetch_one(&mut connection).await.unwrap();
        Stored {
            written: written.into_iter().map(|number| number as u64).collect(),
            effects: effects as u64,
            ..kept(&mut connection).await.unwrap()
        }
    }
}
