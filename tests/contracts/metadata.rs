//! The metadata sink, on a database of its own.

use async_trait::async_trait;
use bytes::Bytes;
use millstream_connectors::sinks::metadata::columns::Columns;
use millstream_engine::testing::sink::{Fixture, Stored};
use millstream_engine::{Decode, Sink};
use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, database, stream};
use sqlx::{Connection as _, PgConnection};

use super::kept::kept;

millstream_engine::sink_contract!(MetadataTables::new().await);

/// The metadata sink on a database of its own, which refuses what no decoder can foresee.
struct MetadataTables {
    database: Database,
}

impl MetadataTables {
    async fn new() -> Self {
        let database = database().await;
        database.execute("ALTER TABLE millstream.objects ADD CONSTRAINT picky CHECK (key <> 'poison')").await;
        MetadataTables { database }
    }
}

#[async_trait]
impl Fixture for MetadataTables {
    type Columns = Columns;

    fn decoder(&self) -> Box<dyn Decode<Columns = Columns>> {
        Box::new(stream::decoder())
    }

    async fn open(&mut self) -> Box<dyn Sink<Columns = Columns>> {
        Box::new(stream::metadata(stream::options("objects", "contract", self.database.options())))
    }

    fn good(&self, number: u64) -> Bytes {
        // A first path segment of its own, so that each event meets every table.
        Event::create("uploads", &format!("in{number}/key"), DAY_NS + number, 1).json().into()
    }

    fn bad(&self) -> Vec<Bytes> {
        let refused_by_database = Event::create("uploads", "poison", DAY_NS, 1).json();
        vec![Bytes::from_static(b"{\"EventName\": nonsense"), refused_by_database.into()]
    }

    fn filtered(&self) -> Bytes {
        Bytes::from_static(
            br#"{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2014-10-13T15:57:02.089Z","Bucket":"uploads"}"#,
        )
    }

    async fn stored(&mut self) -> Stored {
        let mut connection = self.database.connect().await;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        sqlx::raw_sql(begin).execute(&mut connection).await.unwrap();
        let stored = stored(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        stored
    }
}

async fn stored(connection: &mut PgConnection) -> Result<Stored, sqlx::Error> {
    let counted = "SELECT (SELECT count(*) FROM millstream.objects), \
        (SELECT coalesce(sum(objects), 0)::bigint FROM millstream.bucket_count), \
        (SELECT coalesce(sum(objects), 0)::bigint FROM millstream.segment_sum), \
        (SELECT count(*) FROM millstream.segment), \
        (SELECT coalesce(sum(created), 0)::bigint FROM millstream.hour_count)";
    let counted: (i64, i64, i64, i64, i64) = sqlx::query_as(counted).fetch_one(&mut *connection).await?;
    let (objects, buckets, segments, named, effects) = counted;
    assert_eq!([buckets, segments, named], [objects; 3], "objects in bucket and segment counters, segments named");

    let numbers = "SELECT substring(key FROM '^in([0-9]+)/key$')::bigint FROM millstream.objects ORDER BY 1";
    let numbers: Vec<i64> = sqlx::query_scalar(numbers).fetch_all(&mut *connection).await?;
    let kept = kept(connection).await?;
    Ok(Stored { written: numbers.into_iter().map(|number| number as u64).collect(), effects: effects as u64, ..kept })
}
