//! A follower inside the test, and changes for it to follow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use millstream_connectors::sinks::routing::edit::{Edit, Edited, Expected, How, edit};
use millstream_connectors::sinks::routing::{self, Tasks};
use millstream_gateway::follow::{self, Standing};
use millstream_gateway::{Applier, Dialable, Table};
use millstream_postgres::Connector;
use millstream_schemas::tasks::{Alias, Fact, Target};
use millstream_tests::{Database, Writer, stream, until};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::requests::WITHIN;
use crate::tables::tasks::{Told, decoder, payload};

/// The name of its sessions.
pub(crate) const SESSIONS: &str = "test follower";

/// A follower that runs.
pub(crate) struct Follower {
    applier: Arc<Mutex<Applier>>,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Follower {
    /// Follows from now on, and has read everything when this returns.
    pub(crate) async fn start(connect: PgConnectOptions, options: follow::Options) -> Follower {
        let table = Arc::new(Table::default());
        let dialable = Arc::new(Dialable::new(BTreeMap::new(), Vec::<SocketAddr>::new(), Vec::new()));
        let applier = Applier::new(Arc::clone(&table), dialable, millstream_gateway::Options::default());
        let applier = Arc::new(Mutex::new(applier));
        let (sender, standing) = watch::channel(Standing::default());
        let stop = CancellationToken::new();
        let connector = Connector::from(connect).application_name(SESSIONS);
        let own = Arc::clone(&applier);
        let following = follow::follow(connector, options, own, table, Arc::new(Notify::new()), sender, stop.clone());
        let running = millstream_engine::task::spawn("follower of a test", following);
        let follower = Follower { applier, standing, stop, running };
        until("the first snapshot", WITHIN, || async { follower.standing().in_step.map(|_| ()) }).await;
        follower
    }

    /// How far it is.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Snapshots after the first one: because the database went back, a digest differed, the log was pruned; and all.
    pub(crate) fn counted(&self) -> [u64; 4] {
        let Standing { db_rewound, digest_differed, pruned, snapshots, .. } = self.standing();
        [db_rewound, digest_differed, pruned, snapshots]
    }

    /// Waits until it is where the database is.
    pub(crate) async fn in_step(&self, database: &Database) {
        let last = "SELECT max(seq) FROM millstream.route_commit";
        until("the follower to be in step", WITHIN, || async {
            let wanted = database.number(last).await;
            (self.standing().seq == wanted).then_some(())
        })
        .await;
        self.equals(database).await;
    }

    /// What it has is what the tables have.
    pub(crate) async fn equals(&self, database: &Database) {
        let stored = super::facts(database).await;
        let applier = self.applier.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, fact) in &stored {
            assert_eq!(applier.facts().get(key).as_ref(), Some(fact), "the follower (left) has what the table has");
        }
        assert_eq!(applier.len(), stored.len(), "the follower has nothing else");
        let digest = stored.values().fold(0, |sum, fact| sum ^ fact.digest());
        assert_eq!((applier.digest(), self.standing().digest), (digest, digest), "the digest of the rows");
    }

    /// The revision that an alias means, as far as the follower knows.
    pub(crate) fn alias(&self, service: &str, alias: &str) -> Option<(i64, String)> {
        let applier = self.applier.lock().unwrap_or_else(PoisonError::into_inner);
        let (aliases, _) = applier.facts().aliases(Some(service), None, usize::MAX);
        let found = aliases.into_iter().find(|row| row.alias == alias);
        found.map(|row| (row.generation, row.targets.first().map(|one| one.revision.clone()).unwrap_or_default()))
    }

    /// Stops it.
    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// A writer of tasks by hand, with the lease of partition 0 of its pipeline.
pub(crate) async fn writer(database: &Database, pipeline: &str) -> Writer<Tasks, routing::Decoder> {
    let options = stream::options(pipeline, "test-stream", database.options());
    let mut writer = Writer::over(options, Tasks::default(), decoder());
    writer.acquire(&["0"]).await.unwrap();
    writer
}

/// An event of a task.
pub(crate) fn told(id: impl ToString, version: i64) -> Told {
    Told { id: id.to_string(), version, is_stopped: version > 5, address: Some((version % 250) as u8) }
}

/// Writes events as one batch.
pub(crate) async fn put(writer: &mut Writer<Tasks, routing::Decoder>, events: &[Told]) {
    let batch = writer.batch(&[("0", events.iter().map(|told| payload(told).to_vec()).collect())]);
    writer.write(&batch).await.unwrap();
}

/// Sets the alias `digits/prod`, whatever it was.
pub(crate) async fn flip(database: &Database, revision: &str) -> Edited {
    let targets = vec![Target { revision: revision.to_owned(), weight: 100 }];
    let alias = Alias { service: "digits".to_owned(), alias: "prod".to_owned(), targets, ..Alias::default() };
    let how = How { expected: Expected::Any, change_id: None, allow_pending: true, dry_run: false };
    let mut connection = Connector::from(database.options()).connect().await.unwrap();
    let edited = edit(&mut connection, Edit::Alias(alias), &how, "").await;
    edited.unwrap_or_else(|fault| panic!("{:?}", fault.into_sink_error("set an alias")))
}

/// The generation of an alias that was set.
pub(crate) fn generation(edited: &Edited) -> i64 {
    match edited {
        Edited::Done { fact: Fact::Alias(alias), .. } => alias.generation,
        other => panic!("not set: {other:?}"),
    }
}
