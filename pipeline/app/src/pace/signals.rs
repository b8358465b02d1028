//! Asks the database for its load, once a second while there are transactions, over a connection of its own.
//!
//! A value that this account may not see is missing, never zero, and has no effect; so is every value while the
//! database does not answer.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::Gate;
use millstream_engine::concurrency::Signals;
use millstream_postgres::{Connection, Connector};
use sqlx::Row as _;
use tokio_util::sync::CancellationToken;

use super::use_of_processors::UseOfProcessors;
use crate::config::Config;

const EVERY: Duration = Duration::from_secs(1);
/// Timeout of a query: a server that is too busy to answer it is known to be busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Pause after a failure: an earlier answer would hardly differ.
const REST: Duration = Duration::from_secs(10);

/// Asks the database.
#[derive(Debug)]
pub(crate) struct Sampler {
    connector: Connector,
    processors: Option<f64>,
    connection: Option<Connection>,
    use_of_processors: UseOfProcessors,
}

/// Processors of the database's machine, as far as they are known.
pub(crate) fn processors(config: &Config) -> Option<f64> {
    let here = || std::thread::available_parallelism().ok().and_then(|here| u32::try_from(here.get()).ok());
    let known = config.controller.processors;
    known.or_else(|| if config.postgres.is_embedded() { here() } else { None }).map(f64::from)
}

impl Sampler {
    /// Asks with these connections.
    pub(crate) fn new(connector: &Connector, processors: Option<f64>) -> Sampler {
        let connector = connector.clone().application_name("millstream controller");
        Sampler { connector, processors, connection: None, use_of_processors: UseOfProcessors::default() }
    }

    /// Reports to the gate, until told to stop.
    pub(crate) async fn run(mut self, gate: Arc<Gate>, stop: CancellationToken) {
        let mut begun = 0;
        let mut rest = EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => return,
            }
            let look = gate.look();
            // Nobody would use the load of an idle database, and an idle database should stay idle.
            if look.in_flight == 0 && look.begun == begun {
                continue;
            }
            begun = look.begun;
            let signals = tokio::select! {
                asked = tokio::time::timeout(ANSWER_WITHIN, self.ask()) => match asked {
                    Ok(answered) => answered.map_err(|error| format!("{error:#}")),
                    Err(_) => Err("no answer in time".to_owned()),
                },
                () = stop.cancelled() => return,
            };
            rest = if signals.is_ok() { EVERY } else { REST };
            tracing::trace!(?signals, "looked at the database");
            gate.signals(signals.unwrap_or_else(|error| {
                tracing::debug!(error, "the database did not say how busy it is");
                self.connection = None;
                Signals { processors: self.processors, ..Signals::default() }
            }));
        }
    }

    /// Asks once, in one exchange: a statement without parameters needs no preparation, and is its own transaction even
    /// behind a pooler.
    pub(crate) async fn ask(&mut self) -> anyhow::Result<Signals> {
        // Taken out: a connection that is dropped half-way is not used again.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect().await?,
        };
        let row = sqlx::raw_sql(include_str!("../sql/load_select.sql")).fetch_one(&mut connection).await?;
        self.connection = Some(connection);
        let count = |index: usize| row.try_get::<Option<i64>, _>(index).map(|count| count.map(|count| count as f64));
        let lag: Option<f64> = row.try_get(3)?;
        let others = count(4)?;
        // The use alone could be all ours: it says something only together with the sessions of others.
        let used = match others.zip(self.processors) {
            Some(_) => self.use_of_processors.look(row.try_get(6)?, &row.try_get::<Vec<i32>, _>(7)?),
            None => None,
        };
        Ok(Signals {
            sessions_running: count(0)?,
            sessions_of_others: others,
            sessions_locked: count(1)?,
            sessions_waiting_io: count(2)?,
            processors: self.processors,
            processors_used: used.map(|used| used.all),
            processors_ours: used.map(|used| used.ours),
            replica_lag: lag.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            processes: row.try_get::<i64, _>(5)?.try_into().ok().map(|processes: usize| processes.max(1)),
        })
    }
}
