//! Stamps, once a second, the partitions of the stream of tasks that this process has read to their end, and reads the
//! oldest stamp of all processes: so everybody sees how old the routing tables may be, also when no event comes. The state,
//! the page and the metrics of this process show it, and so do the metrics of a gateway that runs alone.
//!
//! Guarantees: a stamp is never newer than the look at the stream by more than [`WITHIN`]. What nobody reads, what waits
//! and what is behind gets no stamp, and its age grows; so it does while the database cannot be asked. What was renamed
//! or removed is forgotten, see `sql/route_state_upsert.sql`.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::{Progress, Source, task};
use millstream_postgres::{Connection, Connector};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::SinkKind;
use crate::running::Running;
use crate::tables::{self, Tables};

/// How often it is written.
const EVERY: Duration = Duration::from_secs(1);
/// The most time of a stamp, from the look at the stream to the commit.
const WITHIN: Duration = Duration::from_secs(2);

/// The partition of all streams of tasks that was read to its end longest ago.
#[derive(Clone, Debug)]
pub(crate) struct Oldest {
    /// Pipeline and partition, as `pipeline/partition`.
    pub(crate) name: String,
    age: Duration,
    looked: Instant,
    /// Since when every look has been answered.
    since: Instant,
}

impl Oldest {
    /// Time since the end of the partition was read, by the clock of the database.
    pub(crate) fn age(&self) -> Duration {
        self.age.saturating_add(self.looked.elapsed())
    }

    /// How long the database has been answering: right after a start and an outage, ages are those from before.
    pub(crate) fn answered_for(&self) -> Duration {
        self.since.elapsed()
    }
}

/// A pipeline whose partitions are stamped.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    source: Arc<dyn Source>,
    progress: Arc<Progress>,
}

impl Stamped {
    /// The pipelines that write the routing tables.
    pub(crate) fn of(pipelines: &[Running]) -> Vec<Stamped> {
        let routing = pipelines.iter().filter(|running| running.config.sink == SinkKind::Routing);
        let stamped = routing
            .map(|running| Stamped { source: Arc::clone(&running.source), progress: Arc::clone(&running.progress) });
        stamped.collect()
    }
}

/// The partitions that this process has, by pipeline, and those of them that are read to their end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    pipelines: Vec<String>,
    incarnations: Vec<String>,
    partitions: Vec<String>,
    end_pipelines: Vec<String>,
    end_partitions: Vec<String>,
}

impl Look {
    fn at(stamped: &[Stamped]) -> Look {
        let mut look = Look::default();
        for Stamped { source, progress } in stamped {
            let now = progress.snapshot();
            for partition in now.positions.keys() {
                look.pipelines.push(now.pipeline.clone());
                look.incarnations.push(source.incarnation().to_owned());
                look.partitions.push(partition.to_string());
            }
            for partition in now.read_to_end(&**source) {
                look.end_pipelines.push(now.pipeline.clone());
                look.end_partitions.push(partition.to_string());
            }
        }
        look
    }
}

/// Stamps, and says what is the oldest stamp, until `stop`.
pub(super) fn start(
    stamped: Vec<Stamped>,
    connector: &Connector,
    tables: watch::Receiver<Tables>,
    oldest: watch::Sender<Option<Oldest>>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    task::spawn("stamp routes", stamp(stamped, connector.clone(), tables, oldest, stop))
}

async fn stamp(
    stamped: Vec<Stamped>,
    connector: Connector,
    tables: watch::Receiver<Tables>,
    oldest: watch::Sender<Option<Oldest>>,
    stop: CancellationToken,
) {
    if !tables::are_ready(tables, &stop).await {
        return;
    }
    let mut connection = None;
    let mut answered_since = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let look = Look::at(&stamped);
        match tokio::time::timeout(WITHIN, exchange(&connector, &mut connection, &look)).await {
            Ok(Ok(found)) => {
                let looked = Instant::now();
                let since = *answered_since.get_or_insert(looked);
                oldest.send_replace(found.map(|(name, age)| Oldest { name, age, looked, since }));
                continue;
            }
            Ok(Err(error)) => {
                tracing::debug!(error = %format!("{error:#}"), "it was not written what is read to its end");
            }
            Err(_) => tracing::debug!("it was not written in time what is read to its end"),
        }
        connection = None;
        answered_since = None;
    }
}

/// Writes what is read to its end; returns the oldest stamp of all, and its age.
async fn exchange(
    connector: &Connector,
    connection: &mut Option<Connection>,
    look: &Look,
) -> anyhow::Result<Option<(String, Duration)>> {
    // Out of its place while it is in use: a call that is dropped half-way leaves none.
    let mut open = match connection.take() {
        Some(open) => open,
        None => connector.connect().await?,
    };
    let pooled = open.is_pooled();
    if pooled {
        sqlx::raw_sql("BEGIN").execute(&mut open).await?;
    }
    if !look.partitions.is_empty() {
        sqlx::query(include_str!("sql/route_state_upsert.sql"))
            .bind(&look.pipelines)
            .bind(&look.incarnations)
            .bind(&look.partitions)
            .bind(&look.end_pipelines)
            .bind(&look.end_partitions)
            .execute(&mut open)
            .await?;
    }
    let oldest: Option<(String, String, f64)> =
        sqlx::query_as(include_str!("sql/route_state_oldest.sql")).fetch_optional(&mut open).await?;
    if pooled {
        sqlx::raw_sql("COMMIT").execute(&mut open).await?;
    }
    *connection = Some(open);
    let age = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
    Ok(oldest.map(|(pipeline, partition, seconds)| (format!("{pipeline}/{partition}"), age(seconds))))
}

#[cfg(test)]
mod tests {
    use millstream_engine::testing::memory::{Decoder, Numbering, Sink, Stream, Tables as Memory};
    use millstream_engine::testing::source::NewRecord;
    use millstream_engine::{Gate, Limits, Partition, Pipeline, run};

    use super::*;

    /// A record that is in the stream and not in the tables is enough to get no stamp.
    #[tokio::test(start_paused = true)]
    async fn only_what_is_read_to_its_end_is_stamped() {
        let stream = Stream::new(2, Numbering::Offsets);
        let progress = Arc::new(Progress::new("tasks", 1));
        let stamped = [Stamped { source: Arc::new(stream.clone()), progress: Arc::clone(&progress) }];
        assert_eq!(Look::at(&stamped), Look::default(), "nothing is read yet");

        let limits = Limits { writers: 1, ..Limits::default() };
        let pipeline = Pipeline {
            source: Arc::new(stream.clone()),
            decoder: Arc::new(Decoder),
            sinks: vec![Box::new(Sink::new(Memory::default())) as Box<_>],
            gate: Gate::of(&limits),
            limits,
            progress,
        };
        let stop = CancellationToken::new();
        let ended = task::spawn("pipeline", run(pipeline, stop.clone()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let look = Look::at(&stamped);
        assert_eq!(look.pipelines, ["tasks", "tasks"]);
        assert_eq!((&look.partitions, &look.end_partitions), (&vec!["0".to_owned(), "1".to_owned()], &look.partitions));

        let record = NewRecord { key: Default::default(), headers: Vec::new(), payload: Default::default() };
        stream.publish(&Partition::new("1"), &[record]);
        let look = Look::at(&stamped);
        assert_eq!((look.partitions.len(), look.end_partitions), (2, vec!["0".to_owned()]));
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(Look::at(&stamped).end_partitions.len(), 2);
        stop.cancel();
        ended.await.unwrap();
    }
}
