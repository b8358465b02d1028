//! What follows the routing tables in this process: the table of routes, and the gateway that serves from it.

mod admin;

mod checker;

mod keep;

mod stamp;
pub(crate) use stamp::{Oldest, Stamped};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use millstream_connectors::sinks::stream::Append;
use millstream_engine::task;
use millstream_gateway::follow::{self, Standing};
use millstream_gateway::probe;
use millstream_gateway::report::{self, Reporter};
use millstream_gateway::server::Gateway;
use millstream_gateway::server::options::Options;
use millstream_gateway::{Applier, Cidr, Dialable, Table};
use millstream_postgres::Connector;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::tables::{self, Tables};
use admin::Admin;

/// Routes are stalled when the follower was not in step for longer than this, or a partition of the stream of tasks was not
/// read to its end.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The follower, and what it keeps.
#[derive(Debug)]
pub struct Serving {
    /// Facts, and what is served of them. Locked for moments only.
    applier: Arc<Mutex<Applier>>,
    /// What requests read.
    pub table: Arc<Table>,
    /// How far the follower is.
    pub standing: watch::Receiver<Standing>,
    /// What was read to its end longest ago, as it was last read in the database; none before the first stamp.
    pub(crate) oldest: watch::Receiver<Option<Oldest>>,
    /// The name of this gateway.
    pub id: String,
    /// Where it listens, if it does.
    pub address: Option<SocketAddr>,
    /// What serves, if anything does.
    pub gateway: Option<Gateway>,
    stop: CancellationToken,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Serving {
    /// Starts to follow, if there is anything to follow, and to serve, if that is configured.
    ///
    /// # Errors
    /// When the configured networks cannot be read, or an address is taken.
    pub(crate) async fn start(config: &Config, connector: &Connector, with: With) -> anyhow::Result<Option<Serving>> {
        let With { stream, is_writer, stamped, tables, draining, stop } = with;
        if config.task_source.is_empty() && config.gateway.listen.is_none() {
            return Ok(None);
        }
        let table = Arc::new(Table::default());
        let dialable = Arc::new(dialable(config)?);
        let applier = Applier::new(Arc::clone(&table), dialable, millstream_gateway::Options::default());
        let applier = Arc::new(Mutex::new(applier));
        let (sender, standing) = watch::channel(Standing::default());
        let applied = Arc::new(Notify::new());
        let connector = connector.clone().application_name("millstream gateway");

        let following = Following {
            options: follow::Options {
                listen: !config.postgres.pgbouncer,
                file: config.gateway.listen.map(|_| file(config)),
                ..follow::Options::default()
            },
            connector: connector.clone(),
            applier: Arc::clone(&applier),
            table: Arc::clone(&table),
            applied: Arc::clone(&applied),
        };
        let mut tasks = vec![task::spawn("follow routes", following.run(sender, tables.clone(), stop.clone()))];
        let (ages, oldest) = watch::channel(None);
        tasks.push(stamp::start(stamped, &connector, tables.clone(), ages, stop.clone()));
        let id = id(config);
        let listening = match config.gateway.listen {
            Some(listen) => Some(Listening::open(config, listen).await?),
            None => None,
        };
        let address = listening.as_ref().map(|listening| listening.address);
        let mut gateway = None;
        if let Some(listening) = listening {
            let reporter = Reporter { id: id.clone(), address: listening.address.to_string(), applied };
            let table = Arc::clone(&table);
            let reporting = report::report(
                reporter,
                connector.clone(),
                Arc::clone(&applier),
                Arc::clone(&table),
                standing.clone(),
                stop.clone(),
            );
            tasks.push(task::spawn("report routes", reporting));
            tasks.push(task::spawn("try tasks", probe::keep_trying(Arc::clone(&table), stop.clone())));
            let serves = Gateway::new(table, options(config, &id));
            let admin = Admin { gateway: serves.clone(), standing: standing.clone(), oldest: oldest.clone(), draining };
            tasks.push(task::spawn("gateway admin", admin::serve(admin, listening.admin, stop.clone())));
            tasks.push(task::spawn("gateway", serve(serves.clone(), listening.listener, stop.clone())));
            gateway = Some(serves);
        }
        if is_writer {
            let keeping = keep::keep(connector.clone(), config.limits.route_log_hours, tables, stop.clone());
            tasks.push(task::spawn("keep the route log", keeping));
        }
        if config.checker.enabled
            && let Some(stream) = stream
        {
            tasks.push(checker::start(config, &connector, Arc::clone(&table), stream, stop.clone()));
        }
        Ok(Some(Serving { applier, table, standing, oldest, id, address, gateway, stop, tasks: Mutex::new(tasks) }))
    }

    /// Reads the facts, and what is served of them. MUST be brief: changes wait for it.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&Applier) -> T) -> T {
        read(&self.applier.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The tasks of a service, counted by state.
    pub(crate) fn states(&self, service: &str) -> BTreeMap<&'static str, usize> {
        let mut states = BTreeMap::new();
        let service = self.with(|applier| applier.service(service));
        for placed in service.revisions.values().flat_map(|revision| &revision.tasks) {
            *states.entry(state(placed.standing)).or_default() += 1;
        }
        states
    }

    /// Why routes may be old although the database answers, in words.
    pub(crate) fn stalled(&self) -> Option<String> {
        let oldest = self.oldest.borrow().clone()?;
        // After a start and an outage the ages are those from before for a moment.
        if oldest.answered_for() <= STALLED_AFTER {
            return None;
        }
        let old = |age: &Duration| *age > STALLED_AFTER;
        if let Some(age) = self.standing.borrow().in_step.map(|at| at.elapsed()).filter(old) {
            return Some(format!("the route log was last read {} s ago: routes are as they were then", age.as_secs()));
        }
        let name = &oldest.name;
        let age = Some(oldest.age()).filter(old)?.as_secs();
        Some(format!("{name} of the stream of tasks was last read to its end {age} s ago: routes may be as old"))
    }

    /// Stops to follow.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the gateway failed");
            }
        }
    }
}

/// What a process has for it.
pub(crate) struct With {
    /// The stream of tasks, to which a checker appends.
    pub(crate) stream: Option<Arc<dyn Append>>,
    /// Whether it writes the routing tables.
    pub(crate) is_writer: bool,
    /// The pipelines whose partitions are stamped when they are read to the end.
    pub(crate) stamped: Vec<Stamped>,
    /// Whether the tables can be read.
    pub(crate) tables: watch::Receiver<Tables>,
    /// When set, `/readyz` answers 503.
    pub(crate) draining: CancellationToken,
    /// Ends it.
    pub(crate) stop: CancellationToken,
}

/// What the follower needs.
struct Following {
    options: follow::Options,
    connector: Connector,
    applier: Arc<Mutex<Applier>>,
    table: Arc<Table>,
    applied: Arc<Notify>,
}

impl Following {
    async fn run(self, sender: watch::Sender<Standing>, tables: watch::Receiver<Tables>, stop: CancellationToken) {
        // From the file it serves without a database.
        let has_file = self.options.file.as_ref().is_some_and(|file| file.exists());
        if has_file || tables::are_ready(tables, &stop).await {
            let Following { options, connector, applier, table, applied } = self;
            follow::follow(connector, options, applier, table, applied, sender, stop).await;
        }
    }
}

/// The listeners of a gateway, opened before anything is served.
struct Listening {
    listener: TcpListener,
    admin: TcpListener,
    /// The real port if 0 was configured.
    address: SocketAddr,
}

impl Listening {
    async fn open(config: &Config, listen: SocketAddr) -> anyhow::Result<Listening> {
        let open = async |setting: &str, address: SocketAddr| {
            let listener = TcpListener::bind(address).await;
            listener
                .with_context(|| format!("listen on {address}: choose another port with --set {setting}=127.0.0.1:0"))
        };
        let listener = open("gateway.listen", listen).await?;
        let admin = open("gateway.admin", config.gateway.admin).await?;
        let address = listener.local_addr().context("read the address that was given")?;
        Ok(Listening { listener, admin, address })
    }
}

/// The file from which a gateway starts while the database is away.
fn file(config: &Config) -> PathBuf {
    config.gateway.file.clone().unwrap_or_else(|| config.data_dir.join("gateway.table"))
}

fn options(config: &Config, id: &str) -> Options {
    let name: String =
        id.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    Options {
        connections_max: config.gateway.connections_max,
        // The process has given its notice before it drains.
        drain_notice: Duration::ZERO,
        drain: Duration::from_secs(config.limits.drain_seconds),
        ..Options::new(name)
    }
}

/// The word for what a task is good for.
pub(crate) fn state(standing: millstream_schemas::tasks::Standing) -> &'static str {
    use millstream_schemas::tasks::Standing;
    match standing {
        Standing::Routable => "routable",
        Standing::Draining => "draining",
        Standing::Gone => "gone",
        Standing::Pending(pending) => pending.as_str(),
    }
}

async fn serve(gateway: Gateway, listener: TcpListener, stop: CancellationToken) {
    let drained = gateway.serve(listener, stop).await;
    if drained.cut > 0 {
        tracing::warn!(connections = drained.cut, "requests did not finish in time and were cut off");
    }
}

/// What may be dialled: the configured networks, else those of the task sources.
fn dialable(config: &Config) -> anyhow::Result<Dialable> {
    let mut networks: BTreeMap<String, Vec<Cidr>> = BTreeMap::new();
    let of_sources = config.task_source.iter().map(|source| (&source.network, &source.cidrs));
    let configured = config.gateway.networks.iter();
    let listed: Vec<_> = if config.gateway.networks.is_empty() { of_sources.collect() } else { configured.collect() };
    for (network, cidrs) in listed {
        for cidr in cidrs {
            let cidr = cidr.parse().with_context(|| format!("read the ranges of network {network}"))?;
            networks.entry(network.clone()).or_default().push(cidr);
        }
    }
    let listeners = [Some(config.http.listen), config.gateway.listen, Some(config.gateway.admin)];
    Ok(Dialable::new(networks, listeners.into_iter().flatten(), own_addresses()))
}

/// The name of this gateway: the configured one, or one of machine and port.
fn id(config: &Config) -> String {
    let machine = || {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let port = config.gateway.listen.map_or(0, |listen| listen.port());
        format!("{name}:{port}")
    };
    config.gateway.id.clone().unwrap_or_else(machine)
}

/// The addresses of this machine, at which a listener on all addresses answers.
fn own_addresses() -> Vec<std::net::IpAddr> {
    if_addrs::get_if_addrs().unwrap_or_default().iter().map(if_addrs::Interface::ip).collect()
}
