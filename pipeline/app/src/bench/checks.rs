//! `bench checks`: what it costs to check the health of many tasks, and how many rows that writes.
//!
//! The checker has a thread of its own, whose CPU time is read; the tasks answer on the others. Results go into the facts
//! as they would through the database.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use clap::Args as ClapArgs;
use millstream_engine::task;
use millstream_gateway::check::{self, Publish, SHARDS};
use millstream_gateway::{Applier, Change, Dialable, Former, Table};
use millstream_schemas::tasks::{Deploy, Fact, Health, HealthCheck, Selector, Task};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::machine;
use super::routes::spread::rounded;

/// The network of the tasks, and the source of their events.
const SOURCE: &str = "bench";
/// Loopback only.
const RANGE: &str = "127.64.0.0/10";
/// How long it may take beyond the probes until all tasks are found to be healthy.
const HEALTHY_WITHIN: Duration = Duration::from_secs(60);
/// Of so many tasks one turns bad in the middle of the measurement.
const TURNS: u32 = 50;

/// Options of `bench checks`.
#[derive(Clone, Debug, ClapArgs)]
pub(crate) struct Args {
    /// Tasks.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(50..=1_000_000))]
    targets: u32,
    /// The most probes a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let tasks = Tasks::start().await?;
    let facts = Facts::with(&args, tasks.port)?;
    let stop = CancellationToken::new();
    let checker = Checker::start(&args, &facts, stop.clone())?;
    super::note(&format!("finding {} tasks healthy", args.targets));
    let began = Instant::now();
    // Each is probed more than once before it is told to be healthy.
    let within = HEALTHY_WITHIN + Duration::from_secs((args.targets / args.rate).into()) * 4;
    while facts.rows.load(Relaxed) < args.targets.into() {
        ensure!(began.elapsed() < within, "the tasks were not found healthy within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    super::note(&format!("{} s with {} probes a second", args.seconds, args.rate));
    let rows = facts.rows.load(Relaxed);
    let probes = tasks.probes.load(Relaxed);
    let cpu_ns = checker.cpu_ns.load(Relaxed);
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(args.seconds) / 2).await;
    tasks.some_are_bad.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(args.seconds) / 2).await;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (checker.cpu_ns.load(Relaxed) - cpu_ns) as f64 / 1e9;
    let report = json!({
        "targets": args.targets,
        "probes_per_second": rounded((tasks.probes.load(Relaxed) - probes) as f64 / seconds),
        "share_of_a_core": rounded(cpu / seconds),
        "rows": facts.rows.load(Relaxed) - rows,
        "turned": args.targets.div_ceil(TURNS),
        "seconds": rounded(seconds),
        "machine": machine::processor(),
    });
    stop.cancel();
    checker.end().await?;
    super::print(&if args.json { serde_json::to_string_pretty(&report)? } else { table(&report) });
    Ok(ExitCode::SUCCESS)
}

/// All tasks: one listener, which knows each by the address that was dialled.
struct Tasks {
    port: u16,
    probes: Arc<AtomicU64>,
    some_are_bad: Arc<AtomicBool>,
}

impl Tasks {
    async fn start() -> anyhow::Result<Tasks> {
        let listener = TcpListener::bind("0.0.0.0:0").await.context("listen for probes")?;
        let port = listener.local_addr()?.port();
        let probes = Arc::new(AtomicU64::new(0));
        let some_are_bad = Arc::new(AtomicBool::new(false));
        let counted = Arc::clone(&probes);
        let bad = Arc::clone(&some_are_bad);
        // Ends with the process.
        drop(task::spawn("checked tasks", async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Relaxed);
                let number = stream.local_addr().ok().and_then(|address| number(address.ip())).unwrap_or_default();
                let is_bad = bad.load(Relaxed) && number % TURNS == 0;
                drop(task::spawn("checked task", answer(stream, is_bad)));
            }
        }));
        Ok(Tasks { port, probes, some_are_bad })
    }
}

async fn answer(mut stream: TcpStream, is_bad: bool) {
    let mut head = [0; 1_024];
    let status = if is_bad { "503 Service Unavailable" } else { "200 OK" };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    // A probe that was given up is the checker's affair.
    if stream.read(&mut head).await.is_ok() {
        stream.write_all(answer.as_bytes()).await.ok();
    }
}

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 96, 0, 0).to_bits() + number).into()
}

fn number(address: IpAddr) -> Option<u32> {
    let IpAddr::V4(address) = address else { return None };
    address.to_bits().checked_sub(Ipv4Addr::new(127, 96, 0, 0).to_bits())
}

/// What gateways know, and where results go.
struct Facts {
    applier: Mutex<Applier>,
    table: Arc<Table>,
    /// Results that were published.
    rows: AtomicU64,
}

impl Facts {
    /// One service with all tasks, each to be asked at `/healthz`.
    fn with(args: &Args, port: u16) -> anyhow::Result<Arc<Facts>> {
        let range = RANGE.parse().context("read the range of the tasks")?;
        let dialable = Dialable::new(BTreeMap::from([(SOURCE.to_owned(), vec![range])]), [], []);
        let table = Arc::new(Table::default());
        let mut applier = Applier::new(Arc::clone(&table), Arc::new(dialable), millstream_gateway::Options::default());
        let definition = Some("checked:1".to_owned());
        let deploy = Deploy {
            service: "checked".to_owned(),
            revision: "1".to_owned(),
            generation: 1,
            selector: Some(Selector { definition: definition.clone(), ..Selector::default() }),
            port: Some(port),
            health: Some(HealthCheck::Http { path: "/healthz".to_owned() }),
            ..Deploy::default()
        };
        let task = |number: u32| Task {
            source: SOURCE.to_owned(),
            id: format!("{number:032x}"),
            version: 1,
            status: Some("RUNNING".to_owned()),
            network: Some(SOURCE.to_owned()),
            addresses: vec![address(number)],
            definition: definition.clone(),
            ..Task::default()
        };
        let tasks = (1..=args.targets).map(|number| Fact::Task(Box::new(task(number))));
        applier.load(tasks.chain([Fact::Deploy(Box::new(deploy))]), &Former::new(), Instant::now());
        Ok(Arc::new(Facts { applier: Mutex::new(applier), table, rows: AtomicU64::new(0) }))
    }
}

#[async_trait]
impl Publish for Facts {
    async fn publish(&self, results: Vec<Health>) -> Result<(), String> {
        self.rows.fetch_add(results.len() as u64, Relaxed);
        let changes = results.into_iter().map(|health| Change::Put(Fact::Health(Box::new(health)))).collect();
        self.applier.lock().unwrap_or_else(PoisonError::into_inner).apply(changes, Instant::now());
        Ok(())
    }
}

/// The checker, on a thread of its own.
struct Checker {
    /// CPU time of the thread, read twenty times a second.
    cpu_ns: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Checker {
    fn start(args: &Args, facts: &Arc<Facts>, stop: CancellationToken) -> anyhow::Result<Checker> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cpu_ns = Arc::new(AtomicU64::new(0));
        let read = Arc::clone(&cpu_ns);
        let facts = Arc::clone(facts);
        let options = check::Options { probes_per_second_max: args.rate, ..check::Options::default() };
        let thread = std::thread::Builder::new().name("checker".to_owned()).spawn(move || {
            let (_keep, shards) = watch::channel((0..SHARDS).map(|shard| (shard, 1)).collect());
            let table = Arc::clone(&facts.table);
            runtime.block_on(async {
                let reading = async {
                    loop {
                        let now = clock_gettime(ClockId::ThreadCPUTime);
                        read.store(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64, Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                };
                tokio::select! {
                    () = check::check(table, shards, facts, options, stop) => {}
                    () = reading => {}
                }
            });
        })?;
        Ok(Checker { cpu_ns, thread })
    }

    async fn end(self) -> anyhow::Result<()> {
        let ended = tokio::task::spawn_blocking(move || self.thread.join()).await?;
        ensure!(ended.is_ok(), "the checker panicked");
        Ok(())
    }
}

fn table(report: &Value) -> String {
    let value = |name: &str| report.get(name).cloned().unwrap_or_default().to_string();
    format!(
        "{} tasks, {} probes/s, {} s\n{}\n\nshare of a core        {:>10}\ntasks that turned bad  {:>10}\nrows that were written {:>10}",
        value("targets"),
        value("probes_per_second"),
        value("seconds"),
        report.get("machine").and_then(Value::as_str).unwrap_or_default(),
        value("share_of_a_core"),
        value("turned"),
        value("rows"),
    )
}
