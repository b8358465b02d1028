//! Follows the routing tables: a snapshot, then the log, commit by commit.
//!
//! Guarantees: what is published is the state after some commit, never a part of one, and its digest is that of the
//! database at that commit. A lost notice costs at most one tick; a log that was pruned, a database that went back or a
//! digest that differs costs one snapshot, and is counted. While the database is away the last state stays published.

mod disk;
mod options;
pub use options::Options;

mod fault;
mod into;
mod save;

mod listen;

mod snapshot;

mod log;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_postgres::{Connection, Connector};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::table::{Applier, Table};
pub(crate) use fault::Fault;
use into::Into;
use into::Place;
pub use into::Standing;
use log::{Lost, Reader};
use save::Saver;
use snapshot::Snapshot;

/// The time between two attempts to reach the database, at first and at most.
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Follows until `stop`. `standing` says how far it is; the state itself is in the applier and its table. `applied` is
/// woken when another generation of an alias may be served.
pub async fn follow(
    connector: Connector,
    options: Options,
    applier: Arc<Mutex<Applier>>,
    table: Arc<Table>,
    applied: Arc<Notify>,
    standing: watch::Sender<Standing>,
    stop: CancellationToken,
) {
    let into = Into::new(applier, table, applied, standing);
    save::load(&options, &into).await;
    let mut saver = Saver::new(&options);
    let hint = Arc::new(Notify::new());
    let listening = options.listen.then(|| listen::spawn(connector.clone(), Arc::clone(&hint), stop.child_token()));
    tokio::select! {
        () = sessions(&connector, &options, &into, &hint, &mut saver) => {}
        // Beside the database: tasks are judged and holds end while it is silent, too.
        () = ticks(&into, options.tick) => {}
        () = stop.cancelled() => {}
    }
    if let Some(listening) = listening {
        listening.abort();
    }
    saver.finish(&into).await;
}

/// Decides again on what is held, and takes account of trials, for ever.
async fn ticks(into: &Into, every: Duration) {
    loop {
        tokio::select! {
            () = into.table.judged().notified() => {}
            () = tokio::time::sleep(every) => {}
        }
        into.tick();
    }
}

/// Follows for ever, on one connection after the other.
async fn sessions(connector: &Connector, options: &Options, into: &Into, hint: &Notify, saver: &mut Saver) {
    let mut pause = RETRY;
    loop {
        let Err(fault) = session(connector, options, into, hint, &mut pause, saver).await;
        let why = fault.told();
        if into.standing.borrow().away.is_none() {
            tracing::warn!(error = %why, "the routing tables cannot be read; the last state stays in use");
        }
        into.standing.send_modify(|standing| standing.away = Some(why));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Follows on one connection until it fails.
async fn session(
    connector: &Connector,
    options: &Options,
    into: &Into,
    hint: &Notify,
    pause: &mut Duration,
    saver: &mut Saver,
) -> Result<std::convert::Infallible, Fault> {
    let mut connection = within(options, connector.connect()).await??;
    let known = into.standing.borrow().clone();
    let mut is_from_disk = known.is_from_disk;
    // What is applied, which may be more than was told: reading may have failed between two commits.
    let digest = into.locked().digest();
    let applied = into.place().seq;
    let mut reader = known.identity.map(|identity| Reader::new(identity, applied, digest));
    loop {
        let reading = match &mut reader {
            Some(reader) => within(options, reader.read(&mut connection, into)).await??,
            None => Err(Lost::Nothing),
        };
        match reading {
            Ok(()) => {}
            Err(lost) => {
                reader = Some(catch_up(&mut connection, options, into, lost).await?);
                continue;
            }
        }
        *pause = RETRY;
        if let Some(reader) = &reader {
            into.standing.send_modify(|standing| {
                standing.seq = reader.seq();
                standing.digest = reader.digest();
                standing.in_step = Some(Instant::now());
                standing.away = None;
            });
            if std::mem::take(&mut is_from_disk) {
                into.change(true, |applier| applier.confirm(Instant::now()));
                into.standing.send_modify(|standing| standing.is_from_disk = false);
            }
            saver.look(into, Instant::now()).await;
        }
        tokio::select! {
            () = hint.notified() => {}
            () = tokio::time::sleep(options.tick) => {}
        }
    }
}

/// Takes a snapshot, and says why.
async fn catch_up(connection: &mut Connection, options: &Options, into: &Into, lost: Lost) -> Result<Reader, Fault> {
    if lost != Lost::Nothing {
        tracing::warn!(reason = lost.as_str(), "the routing tables are read anew as a whole");
    }
    let snapshot = within(options, Snapshot::take(connection)).await??;
    let reader = Reader::new(snapshot.identity.clone(), snapshot.seq, snapshot.digest);
    let is_whole = into.change(true, |applier| {
        into.stand(Place { identity: reader.identity().to_owned(), seq: reader.seq() });
        snapshot.load(applier, Instant::now())
    });
    into.standing.send_modify(|standing| {
        standing.identity = Some(reader.identity().to_owned());
        standing.seq = reader.seq();
        standing.digest = reader.digest();
        standing.snapshots += 1;
        match lost {
            Lost::Nothing => {}
            Lost::Rewound => standing.db_rewound += 1,
            Lost::Digest => standing.digest_differed += 1,
            Lost::Pruned => standing.pruned += 1,
        }
        if !is_whole {
            standing.digest_differed += 1;
        }
    });
    if !is_whole {
        // One writer of another version, or a change by hand: the rows are what there is.
        tracing::error!("the digest of the routing tables is not that of their rows");
    }
    Ok(reader)
}

async fn within<T>(options: &Options, answer: impl Future<Output = T>) -> Result<T, Fault> {
    Ok(tokio::time::timeout(options.answer_max, answer).await?)
}
