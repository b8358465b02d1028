//! What the checks must know of a domain.

use std::sync::Arc;

use bytes::Bytes;
use millstream_connectors::sinks::tables::{self, Rows};
use millstream_engine::{Batch, Decode, Limits, Outcome, Sink};
use millstream_log::{NewRecord, Topic};
use millstream_tests::stream::{self, Writer};
use millstream_tests::{Database, Run};
use sqlx::postgres::PgConnectOptions;

/// A domain whose rows the writer of tables writes.
pub(super) trait Domain: 'static {
    /// Its rows.
    type Rows: Rows<Columns: 'static> + 'static;
    /// Makes columns of records.
    type Decoder: Decode<Columns = <Self::Rows as Rows>::Columns> + 'static;
    /// What its tables are made from.
    type Event: Clone;

    /// The table of its rows.
    const TABLE: &'static str;
    /// A column of it.
    const COLUMN: &'static str;
    /// What a row must be for `picky` not to refuse it.
    const GOOD: &'static str;

    /// About what a writer sends for 100 events.
    const BYTES_OF_100: u64;

    /// A database with its tables.
    async fn database() -> Database;
    fn rows() -> Self::Rows;
    fn decoder() -> Self::Decoder;

    /// Events that meet each other in every way.
    fn random(name: &str, count: usize) -> Vec<Self::Event>;
    /// An event with a row of its own.
    fn numbered(number: u64) -> Self::Event;
    /// One with a row that is not [`Domain::GOOD`].
    fn poison(number: u64) -> Self::Event;
    /// The key that chooses its partition, and its bytes.
    fn record(event: &Self::Event) -> (Bytes, Bytes);

    /// Compares everything in the tables with what these events come to.
    async fn holds(database: &Database, events: &[Self::Event]);
}

/// Events of these numbers.
pub(super) fn numbered<D: Domain>(range: std::ops::Range<u64>) -> Vec<D::Event> {
    range.map(D::numbered).collect()
}

/// The database refuses rows that no decoder can foresee.
pub(super) async fn refuse<D: Domain>(database: &Database) {
    database.execute(&format!("ALTER TABLE {} ADD CONSTRAINT picky CHECK ({})", D::TABLE, D::GOOD)).await;
}

/// Appends events, each to the partition of its key.
pub(super) async fn append<D: Domain>(topic: &Topic, events: &[D::Event]) {
    let records = events.iter().map(|event| {
        let (key, payload) = D::record(event);
        NewRecord { key, payload, ..NewRecord::default() }
    });
    topic.append(records.collect()).await.expect("append");
}

/// Runs a pipeline from a topic.
pub(super) fn run<D: Domain>(topic: &Topic, connect: PgConnectOptions, limits: Limits) -> Run {
    let source = Arc::new(millstream_connectors::sources::log::LogSource::new(topic.clone()));
    let options = stream::options("objects", millstream_engine::Source::incarnation(&*source), connect);
    let writer = |_| {
        let writer = tables::Writer::new(options.clone(), D::rows());
        Box::new(writer) as Box<dyn Sink<Columns = <D::Rows as Rows>::Columns>>
    };
    let sinks = (0..limits.writers).map(writer).collect();
    Run::over("objects", source, Arc::new(D::decoder()), sinks, limits)
}

/// A writer whose batches the test makes by hand.
pub(super) type ByHand<D> = Writer<<D as Domain>::Rows, <D as Domain>::Decoder>;

/// A writer that has leased nothing yet.
pub(super) fn idle<D: Domain>(connect: PgConnectOptions) -> ByHand<D> {
    Writer::over(stream::options("objects", "test-stream", connect), D::rows(), D::decoder())
}

/// A writer that has leased these partitions.
pub(super) async fn writer<D: Domain>(connect: PgConnectOptions, partitions: &[&str]) -> ByHand<D> {
    let mut writer = idle::<D>(connect);
    writer.acquire(partitions).await.unwrap();
    writer
}

/// A batch of events of partitions, at the positions that come next.
pub(super) fn batch<D: Domain>(
    writer: &mut ByHand<D>,
    parts: &[(&str, &[D::Event])],
) -> Batch<<D::Rows as Rows>::Columns> {
    let payloads = |events: &[D::Event]| events.iter().map(|event| D::record(event).1.to_vec()).collect();
    writer.batch(&parts.iter().map(|(partition, events)| (*partition, payloads(events))).collect::<Vec<_>>())
}

/// Writes events as one batch of partition 0.
pub(super) async fn put<D: Domain>(writer: &mut ByHand<D>, events: &[D::Event]) -> Outcome {
    let batch = batch::<D>(writer, &[("0", events)]);
    writer.write(&batch).await.unwrap()
}

/// Positions in the quarantine, in order.
pub(super) async fn kept(database: &Database) -> Vec<i64> {
    let kept = sqlx::query_scalar("SELECT position::bigint FROM millstream.quarantine WHERE index = -1 ORDER BY 1");
    kept.fetch_all(&mut database.connect().await).await.unwrap()
}
