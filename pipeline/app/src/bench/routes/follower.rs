//! A gateway of the benchmark's own, which follows the tables of routes of a running node.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use millstream_engine::task;
use millstream_gateway::follow::{self, Standing};
use millstream_gateway::server::Gateway;
use millstream_gateway::server::options::Options;
use millstream_gateway::{Applier, Dialable, Table};
use millstream_postgres::Connector;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event;

/// The most time of a first snapshot.
const LOADED_WITHIN: Duration = Duration::from_secs(300);

/// See the module.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) table: Arc<Table>,
    pub(super) applier: Arc<Mutex<Applier>>,
    standing: watch::Receiver<Standing>,
    stop: CancellationToken,
    following: JoinHandle<()>,
}

impl Follower {
    /// Begins with an empty table. Without `listen` no notice reaches it, as if all of them were lost.
    pub(super) fn start(connector: Connector, listen: bool) -> anyhow::Result<Follower> {
        let range = event::RANGE.parse().context("read the range of the tasks")?;
        let dialable = Dialable::new(BTreeMap::from([(event::SOURCE.to_owned(), vec![range])]), [], []);
        let table = Arc::new(Table::default());
        let applier = Applier::new(Arc::clone(&table), Arc::new(dialable), millstream_gateway::Options::default());
        let applier = Arc::new(Mutex::new(applier));
        let (sender, standing) = watch::channel(Standing::default());
        let stop = CancellationToken::new();
        let options = follow::Options { listen, ..follow::Options::default() };
        let following = follow::follow(
            connector.application_name("millstream bench"),
            options,
            Arc::clone(&applier),
            Arc::clone(&table),
            Arc::new(Notify::new()),
            sender,
            stop.clone(),
        );
        let following = task::spawn("follow routes", following);
        Ok(Follower { table, applier, standing, stop, following })
    }

    /// Waits for the first snapshot; returns how long that took from now on.
    pub(super) async fn loaded(&mut self) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let loaded = self.standing.wait_for(|standing| standing.identity.is_some());
        let loaded = tokio::time::timeout(LOADED_WITHIN, loaded).await.context("the tables were not read in time")?;
        loaded.context("the follower ended")?;
        Ok(began.elapsed())
    }

    /// Serves requests, until the follower ends.
    pub(super) async fn serve(&self, id: &str) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let gateway =
            Gateway::new(Arc::clone(&self.table), Options { drain_notice: Duration::ZERO, ..Options::new(id) });
        let stop = self.stop.clone();
        let serving = async move {
            // How it drained is no part of what is measured.
            gateway.serve(listener, stop).await;
        };
        drop(task::spawn("gateway", serving));
        Ok(address)
    }

    /// The number of facts.
    pub(super) fn facts(&self) -> usize {
        self.applier.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How far it is.
    pub(super) fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Ends.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.following.await.context("follow routes")
    }
}
