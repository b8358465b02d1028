//! Pipelines and single writers inside the test, for what needs no process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_connectors::sinks::metadata::{Decoder, Metadata, Objects};
use millstream_connectors::sinks::tables::{self, Options, Rows};
use millstream_connectors::sources::log::LogSource;
use millstream_engine::decode::Columns;
use millstream_engine::intake::Intake;
use millstream_engine::{
    Batch, BatchLimits, Decode, Gate, Held, Limits, Outcome, Partition, Pipeline, Position, Progress, Record,
    RecordBatch, Sink, SinkError, Source, Summary, run, task,
};
use millstream_log::{Log, NewRecord, Topic};
use sqlx::postgres::PgConnectOptions;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::objects::event::Event;
use crate::wait::until;

/// Nothing that a test does on purpose holds a lease for as long.
const LEASE_LOCK_MAX: Duration = Duration::from_secs(2);
/// Counted segments of a bucket: as the default is.
pub const SEGMENTS_MAX: i32 = 10_000;
const STORE_HEADER: &str = "millstream-store";

/// An embedded stream in a directory of its own.
#[derive(Debug)]
pub struct Stream {
    log: Log,
    _directory: tempfile::TempDir,
}

impl Default for Stream {
    fn default() -> Self {
        let directory = crate::scratch();
        let log = Log::open(&directory.path().join("stream"), millstream_log::Options::default()).expect("open a log");
        Stream { log, _directory: directory }
    }
}

impl Stream {
    /// A topic, made if it is not there.
    ///
    /// # Panics
    /// If it has another number of partitions.
    pub fn topic(&self, name: &str, partitions: u32) -> Topic {
        self.log.topic(name, partitions).expect("open a topic")
    }
}

/// Appends events, each to the partition of its key, or all to one.
///
/// # Panics
/// If they are not durable.
pub async fn append(topic: &Topic, events: &[Event], partition: Option<u32>) {
    let records = events.iter().map(|event| NewRecord { partition, ..new_record(event) }).collect();
    topic.append(records).await.expect("append");
}

fn new_record(event: &Event) -> NewRecord {
    let headers = if event.store == "default" {
        Vec::new()
    } else {
        vec![(STORE_HEADER.into(), Bytes::from(event.store.clone()))]
    };
    NewRecord { partition: None, key: event.entity().into(), headers, payload: event.json().into() }
}

/// A pipeline that runs inside the test.
#[derive(Debug)]
pub struct Run {
    /// Its counters.
    pub progress: Arc<Progress>,
    source: Arc<dyn Source>,
    shutdown: CancellationToken,
    ended: JoinHandle<Summary>,
}

impl Run {
    /// Runs `name` from a topic into a database with these limits; one writer per lane.
    pub fn start(name: &str, topic: &Topic, connect: PgConnectOptions, limits: Limits) -> Self {
        Run::read(name, Arc::new(LogSource::new(topic.clone())), connect, limits)
    }

    /// The same from any source.
    pub fn read(name: &str, source: Arc<dyn Source>, connect: PgConnectOptions, limits: Limits) -> Self {
        let options = options(name, source.incarnation(), connect);
        let writers = Metadata::several(options, SEGMENTS_MAX, limits.writers);
        let sinks = writers.map(|writer| Box::new(writer) as Box<dyn Sink<Columns = _>>).collect();
        Run::over(name, source, Arc::new(decoder()), sinks, limits)
    }

    /// Runs `name` from a source into sinks, one for each lane.
    pub fn over<C: Columns + 'static>(
        name: &str,
        source: Arc<dyn Source>,
        decoder: Arc<dyn Decode<Columns = C>>,
        sinks: Vec<Box<dyn Sink<Columns = C>>>,
        limits: Limits,
    ) -> Self {
        let progress = Arc::new(Progress::new(name, limits.writers));
        let pipeline = Pipeline {
            source: Arc::clone(&source),
            decoder,
            sinks,
            gate: Gate::of(&limits),
            limits,
            progress: Arc::clone(&progress),
        };
        let shutdown = CancellationToken::new();
        let ended = task::spawn("pipeline", run(pipeline, shutdown.clone()));
        Run { progress, source, shutdown, ended }
    }

    /// Limits for tests: small batches, short waits.
    pub fn limits(writers: usize, records_max: usize) -> Limits {
        Limits {
            batch: BatchLimits { records_max, linger: Duration::from_millis(5), ..BatchLimits::default() },
            writers,
            retry_base: Duration::from_millis(10),
            retry_cap: Duration::from_millis(200),
            ..Limits::default()
        }
    }

    /// Records in the stream that are not in the tables.
    pub fn lag(&self) -> Option<u64> {
        let positions = self.progress.snapshot().positions;
        let lag = |partition: &Partition| self.source.lag_records(partition, positions.get(partition)?);
        self.source.assignment().borrow().iter().map(lag).sum()
    }

    /// Waits until everything in the stream is in the tables.
    ///
    /// # Panics
    /// If it is not in time.
    pub async fn caught_up(&self, within: Duration) {
        until("the pipeline to catch up", within, || async { (self.lag() == Some(0)).then_some(()) }).await;
    }

    /// Asks it to stop, and waits for that.
    ///
    /// # Panics
    /// If it panicked.
    pub async fn stop(self) -> Summary {
        self.shutdown.cancel();
        self.ended.await.expect("a pipeline that did not panic")
    }
}

/// What a writer of a pipeline on a stream must know.
pub fn options(pipeline: &str, incarnation: &str, connect: PgConnectOptions) -> Options {
    let connect = connect.application_name("millstream writer");
    Options {
        pipeline: pipeline.to_owned(),
        incarnation: incarnation.to_owned(),
        connect: connect.into(),
        set_local: String::new(),
        lease_lock_max: LEASE_LOCK_MAX,
        quarantine_max: None,
    }
}

/// A writer of objects that has leased nothing yet.
pub fn metadata(options: Options) -> Metadata {
    Metadata::new(options, Objects::new(SEGMENTS_MAX))
}

/// The decoder that pipelines have.
pub fn decoder() -> Decoder {
    Decoder { store: "default".to_owned(), limits: Default::default() }
}

/// One writer, whose batches the test makes by hand.
#[derive(Debug)]
pub struct Writer<R = Objects, D = Decoder> {
    /// The sink itself.
    pub sink: tables::Writer<R>,
    decoder: D,
    next: BTreeMap<Partition, u64>,
}

impl Writer {
    /// A writer of a pipeline that has leased these partitions.
    ///
    /// # Panics
    /// If it cannot have them.
    pub async fn new(pipeline: &str, connect: PgConnectOptions, partitions: &[&str]) -> Self {
        let mut writer = Writer::idle(pipeline, connect, 10_000);
        writer.acquire(partitions).await.expect("take leases");
        writer
    }

    /// A writer that has leased nothing yet, with a limit of counted segments.
    pub fn idle(pipeline: &str, connect: PgConnectOptions, segments_max: i32) -> Self {
        Writer::over(options(pipeline, "test-stream", connect), Objects::new(segments_max), decoder())
    }

    /// Writes events as one batch of partition 0.
    ///
    /// # Panics
    /// If the sink refuses.
    pub async fn put(&mut self, events: &[Event]) -> Outcome {
        let batch = self.batch(&[("0", events.iter().map(Event::json).collect())]);
        self.write(&batch).await.expect("write a batch")
    }
}

impl<R: Rows, D: Decode<Columns = R::Columns>> Writer<R, D> {
    /// A writer of any rows that has leased nothing yet.
    pub fn over(options: Options, rows: R, decoder: D) -> Self {
        Writer { sink: tables::Writer::new(options, rows), decoder, next: BTreeMap::new() }
    }

    /// Takes leases and goes on from the stored positions.
    ///
    /// # Errors
    /// Of the sink.
    pub async fn acquire(&mut self, partitions: &[&str]) -> Result<Vec<Held>, SinkError> {
        let partitions: Vec<Partition> = partitions.iter().map(Partition::new).collect();
        let held = self.sink.acquire(&partitions).await?;
        for lease in &held {
            let next = match lease.next {
                Some(Position::Offset(next)) => next,
                _ => 0,
            };
            self.next.insert(lease.partition.clone(), next);
        }
        Ok(held)
    }

    /// A batch of payloads, each list for its partition, at the positions that come next.
    pub fn batch(&mut self, parts: &[(&str, Vec<Vec<u8>>)]) -> Batch<R::Columns> {
        self.batch_published(parts, millstream_engine::clock::now_ms())
    }

    /// The same, of records that were published at another time.
    pub fn batch_published(&mut self, parts: &[(&str, Vec<Vec<u8>>)], published_at_ms: i64) -> Batch<R::Columns> {
        let mut starts = Vec::new();
        let mut fetched = Vec::new();
        let mut count = 0;
        for (name, payloads) in parts {
            let partition = Partition::new(name);
            let from = *self.next.get(&partition).unwrap_or(&0);
            let records = payloads
                .iter()
                .zip(from..)
                .map(|(payload, position)| record(position, payload, published_at_ms))
                .collect();
            let next = from + payloads.len() as u64;
            self.next.insert(partition.clone(), next);
            starts.push((partition.clone(), Position::Offset(from)));
            fetched.push(RecordBatch { partition, records, next: Position::Offset(next) });
            count += payloads.len();
        }
        let mut intake = Intake::new(starts, usize::MAX);
        intake.accept(fetched);
        Batch::decode(intake.take(count.max(1), usize::MAX), &self.decoder, &BTreeSet::new())
    }

    /// A batch of one partition that begins at a position.
    pub fn batch_at(&mut self, partition: &str, from: u64, payloads: Vec<Vec<u8>>) -> Batch<R::Columns> {
        self.next.insert(Partition::new(partition), from);
        self.batch(&[(partition, payloads)])
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// Of the sink.
    pub async fn write(&mut self, batch: &Batch<R::Columns>) -> Result<Outcome, SinkError> {
        self.sink.write(batch).await.map(|receipt| receipt.outcome().clone())
    }
}

fn record(position: u64, payload: &[u8], published_at_ms: i64) -> Record {
    Record {
        position: Position::Offset(position),
        published_at_ms,
        key: Bytes::from_static(b"test"),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(payload),
    }
}
