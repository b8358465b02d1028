//! The sink of tasks.

use async_trait::async_trait;
use bytes::Bytes;
use millstream_connectors::sinks::routing::{Columns, Routing, Tasks};
use millstream_engine::testing::sink::{Fixture, Stored};
use millstream_engine::{Decode, Sink};
use millstream_tests::{Database, stream};

use super::kept::kept;
use crate::tables::tasks::{Told, decoder, payload};

millstream_engine::sink_contract!(TaskTables::new().await);

/// The fact tables, which refuse what no decoder can foresee.
struct TaskTables {
    database: Database,
}

impl TaskTables {
    async fn new() -> Self {
        let database = millstream_tests::database().await;
        database.execute("ALTER TABLE millstream.task ADD CONSTRAINT picky CHECK (id <> 'poison')").await;
        TaskTables { database }
    }
}

fn told(id: &str) -> Bytes {
    payload(&Told { id: id.to_owned(), version: 1, is_stopped: false, address: None })
}

#[async_trait]
impl Fixture for TaskTables {
    type Columns = Columns;

    fn decoder(&self) -> Box<dyn Decode<Columns = Columns>> {
        Box::new(decoder())
    }

    async fn open(&mut self) -> Box<dyn Sink<Columns = Columns>> {
        Box::new(Routing::new(stream::options("objects", "contract", self.database.options()), Tasks::default()))
    }

    fn good(&self, number: u64) -> Bytes {
        told(&number.to_string())
    }

    fn bad(&self) -> Vec<Bytes> {
        vec![Bytes::from_static(b"{nonsense"), told("poison")]
    }

    fn filtered(&self) -> Bytes {
        Bytes::from_static(br#"{"Records":[{"eventVersion":"2.1","eventSource":"aws:s3","awsRegion":"eu-central-1","eventTime":"2026-12-01T00:00:00.000Z","eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"k","size":1,"sequencer":"0055AED6DCD90281E5"}}}]}"#)
    }

    async fn stored(&mut self) -> Stored {
        let mut connection = self.database.connect().await;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        sqlx::raw_sql(begin).execute(&mut connection).await.unwrap();
        let written = "SELECT id::bigint FROM millstream.task ORDER BY 1";
        let written: Vec<i64> = sqlx::query_scalar(written).fetch_all(&mut connection).await.unwrap();
        let effects = "SELECT count(*) FROM millstream.route_log";
        let effects: i64 = sqlx::query_scalar(effects).fetch_one(&mut connection).await.unwrap();
        Stored {
            written: written.into_iter().map(|number| number as u64).collect(),
            effects: effects as u64,
            ..kept(&mut connection).await.unwrap()
        }
    }
}
