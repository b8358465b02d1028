use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use millstream_schemas::tasks::{Fact, HealthCheck, Selector, Task};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;
use crate::dial::Dialable;
use crate::table::{Applier, Change};

const INTERVAL: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the probe of a task with this number, counted from 1, is answered with 200.
type Script = dyn Fn(usize, usize) -> bool + Send + Sync;

/// All tasks: one server at one port, which knows the task by the address that was dialled.
struct Tasks {
    port: u16,
    counts: Arc<Mutex<BTreeMap<usize, usize>>>,
    _server: JoinSet<()>,
}

impl Tasks {
    async fn start(script: Arc<Script>) -> Tasks {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let counts: Arc<Mutex<BTreeMap<usize, usize>>> = Arc::default();
        let mut server = JoinSet::new();
        let shared = Arc::clone(&counts);
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let IpAddr::V4(address) = stream.local_addr().unwrap().ip() else { continue };
                let task = usize::from(address.octets()[3]);
                let count = {
                    let mut counts = shared.lock().unwrap();
                    let count = counts.entry(task).or_default();
                    *count += 1;
                    *count
                };
                let status = if script(task, count) { "200 OK" } else { "500 Broken" };
                connections.spawn(async move {
                    let mut head = [0; 1_024];
                    let length = stream.read(&mut head).await.unwrap_or(0);
                    assert!(length == 0 || head.starts_with(b"GET /healthy HTTP/1.1\r\n"));
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    stream.write_all(answer.as_bytes()).await.unwrap_or_default();
                });
            }
        });
        Tasks { port, counts, _server: server }
    }

    fn count(&self, task: usize) -> usize {
        self.counts.lock().unwrap().get(&task).copied().unwrap_or(0)
    }
}

/// Keeps what is published, with the number of probes of task 1 until then.
#[derive(Default)]
struct Kept {
    results: Mutex<Vec<(Health, usize)>>,
    refused: Mutex<Vec<Health>>,
    refusals: AtomicUsize,
    counts: Arc<Mutex<BTreeMap<usize, usize>>>,
}

#[async_trait]
impl Publish for Kept {
    async fn publish(&self, results: Vec<Health>) -> Result<(), String> {
        let refuse = |left: usize| left.checked_sub(1);
        if self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, refuse).is_ok() {
            self.refused.lock().unwrap().extend(results);
            return Err("not now".to_owned());
        }
        let count = self.counts.lock().unwrap().get(&1).copied().unwrap_or(0);
        self.results.lock().unwrap().extend(results.into_iter().map(|health| (health, count)));
        Ok(())
    }
}

impl Kept {
    fn len(&self) -> usize {
        self.results.lock().unwrap().len()
    }

    fn all(&self) -> Vec<(Health, usize)> {
        self.results.lock().unwrap().clone()
    }
}

/// A checker of these shards.
struct Checking {
    tasks: Tasks,
    kept: Arc<Kept>,
    shards: watch::Sender<BTreeMap<u16, i64>>,
    applier: Applier,
    ids: Vec<String>,
    stop: CancellationToken,
}

impl Checking {
    /// Checks tasks with these ids; the first one has number 1.
    async fn start(ids: Vec<String>, shards: BTreeMap<u16, i64>, refusals: usize, script: Arc<Script>) -> Checking {
        Self::start_with(ids, shards, refusals, script, Options::default()).await
    }

    async fn start_with(
        ids: Vec<String>,
        shards: BTreeMap<u16, i64>,
        refusals: usize,
        script: Arc<Script>,
        options: Options,
    ) -> Checking {
        let tasks = Tasks::start(script).await;
        let table = Arc::new(Table::default());
        let networks = BTreeMap::from([("vpc".to_owned(), vec!["127.0.0.0/8".parse().unwrap()])]);
        let dialable = Arc::new(Dialable::new(networks, [], []));
        let mut applier = Applier::new(Arc::clone(&table), dialable, crate::Options::default());
        let selector = Some(Selector { definition: Some("blue".into()), ..Selector::default() });
        let health = Some(HealthCheck::Http { path: "/healthy".into() });
        let deploy = Deploy { service: "s".into(), revision: "blue".into(), selector, health, ..Deploy::default() };
        let deploy = Deploy { port: Some(tasks.port), ..deploy };
        let facts = ids.iter().enumerate().map(|(at, id)| task(at + 1, id));
        let facts = facts.chain([Fact::Deploy(Box::new(deploy))]);
        applier.apply(facts.map(Change::Put).collect(), Instant::now());
        let kept = Kept { refusals: refusals.into(), counts: Arc::clone(&tasks.counts), ..Kept::default() };
        let kept = Arc::new(kept);
        let (shards, mine) = watch::channel(shards);
        let stop = CancellationToken::new();
        let options = Options { interval: INTERVAL, ..options };
        let publish: Arc<dyn Publish> = Arc::clone(&kept) as _;
        drop(millstream_engine::task::spawn("check", check(table, mine, publish, options, stop.clone())));
        Checking { tasks, kept, shards, applier, ids, stop }
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "never: {what}; published {:?}", self.kept.all());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// So many more probes of a task.
    async fn probes(&self, task: usize, more: usize) {
        let count = self.tasks.count(task) + more;
        self.until("it is probed", |checking| checking.tasks.count(task) >= count).await;
    }
}

impl Drop for Checking {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn task(number: usize, id: &str) -> Fact {
    Fact::Task(Box::new(Task {
        source: "ecs".into(),
        id: id.to_owned(),
        version: 1,
        definition: Some("blue".into()),
        status: Some("RUNNING".into()),
        network: Some("vpc".into()),
        addresses: vec![[127, 0, 7, u8::try_from(number).unwrap()].into()],
        ..Task::default()
    }))
}

/// Ids of tasks of one shard.
fn of_shard(shard: u16, count: usize) -> Vec<String> {
    (0..).map(|number: u32| format!("t{number}")).filter(|id| shard_of(id) == shard).take(count).collect()
}

#[tokio::test]
async fn only_transitions_are_published_after_two_good_or_three_bad_probes() {
    let script = [true, false, false, true, false, false, false, true, false, true, true, true];
    let script = move |_: usize, count: usize| script.get(count - 1).copied().unwrap_or(true);
    let checking = Checking::start(of_shard(3, 1), BTreeMap::from([(3, 7)]), 0, Arc::new(script)).await;
    checking.probes(1, 16).await;
    let all = checking.kept.all();
    let told: Vec<_> = all.iter().map(|(health, probes)| (health.healthy, *probes)).collect();
    assert_eq!(told, [(true, 1), (false, 7), (true, 11)]);
    let (bad, _) = &all[1];
    assert_eq!((&*bad.source, &bad.task, bad.port), ("ecs", &checking.ids[0], i32::from(checking.tasks.port)));
    assert_eq!((bad.reason.as_deref(), &all[2].0.reason), (Some("answered 500"), &None));
    assert!((millstream_engine::clock::now_ms() - bad.since_ms).abs() < 60_000);
    let orders: Vec<_> = all.iter().map(|(health, _)| (health.assignment, health.counter)).collect();
    assert_eq!(orders, [(7, 1), (7, 2), (7, 3)]);
}

#[tokio::test]
async fn health_that_the_facts_have_lost_is_told_again_and_what_they_have_is_not() {
    let options = Options { lost_after: Duration::from_millis(500), ..Options::default() };
    let shards = BTreeMap::from([(3, 7)]);
    let mut checking = Checking::start_with(of_shard(3, 1), shards, 0, Arc::new(|_, _| true), options).await;
    checking.until("told", |checking| checking.kept.len() == 1).await;
    let told = |checking: &Checking| Fact::Health(Box::new(checking.kept.all().last().unwrap().0.clone()));
    let fact = told(&checking);
    checking.applier.apply(vec![Change::Put(fact.clone())], Instant::now());
    checking.probes(1, 12).await;
    assert_eq!(checking.kept.len(), 1, "the facts say the same");
    // The database went back to before it was told.
    checking.applier.apply(vec![Change::Remove(fact.key())], Instant::now());
    checking.until("told again", |checking| checking.kept.len() == 2).await;
    let fact = told(&checking);
    assert!(matches!(&fact, Fact::Health(health) if health.healthy && health.counter == 2));
    // As long as it does not arrive, it is told no more often than that.
    let begun = Instant::now();
    checking.until("and again", |checking| checking.kept.len() == 4).await;
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn targets_of_other_shards_are_left_alone() {
    let ids = [of_shard(3, 1), of_shard(4, 1)].concat();
    let checking = Checking::start(ids, BTreeMap::from([(3, 7)]), 0, Arc::new(|_, _| true)).await;
    checking.probes(1, 5).await;
    assert_eq!((checking.tasks.count(2), checking.kept.len()), (0, 1));
    checking.shards.send_replace(BTreeMap::from([(4, 9)]));
    checking.probes(2, 3).await;
    let before = checking.tasks.count(1);
    checking.probes(2, 5).await;
    assert_eq!(checking.tasks.count(1), before, "it belongs to another checker now");
    let all = checking.kept.all();
    let told: Vec<_> = all.iter().map(|(health, _)| (&health.task, health.assignment, health.counter)).collect();
    assert_eq!(told, [(&checking.ids[0], 7, 1), (&checking.ids[1], 9, 1)]);
}

#[tokio::test]
async fn tasks_that_come_are_probed_and_those_that_leave_are_not() {
    let mut checking = Checking::start(of_shard(3, 1), BTreeMap::from([(3, 7)]), 0, Arc::new(|_, _| true)).await;
    checking.probes(1, 2).await;
    let id = of_shard(3, 2).remove(1);
    let Fact::Task(mut gone) = task(1, &checking.ids[0]) else { panic!() };
    gone.rank = 1;
    gone.version = 2;
    checking.applier.apply(vec![Change::Put(task(2, &id)), Change::Put(Fact::Task(gone))], Instant::now());
    checking.probes(2, 4).await;
    let before = checking.tasks.count(1);
    checking.probes(2, 5).await;
    assert_eq!(checking.tasks.count(1), before, "a draining task is not asked");
}

#[tokio::test]
async fn the_counter_begins_anew_with_the_number_of_a_new_assignment() {
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let script = {
        let is_well = Arc::clone(&is_well);
        move |_: usize, _: usize| is_well.load(Ordering::SeqCst)
    };
    let checking = Checking::start(of_shard(3, 1), BTreeMap::from([(3, 7)]), 0, Arc::new(script)).await;
    checking.until("well", |checking| checking.kept.len() == 1).await;
    is_well.store(false, Ordering::SeqCst);
    checking.until("bad", |checking| checking.kept.len() == 2).await;
    checking.shards.send_replace(BTreeMap::from([(3, 8)]));
    is_well.store(true, Ordering::SeqCst);
    checking.until("well again", |checking| checking.kept.len() == 3).await;
    let all = checking.kept.all();
    let orders: Vec<_> = all.iter().map(|(health, _)| (health.assignment, health.counter)).collect();
    assert_eq!(orders, [(7, 1), (7, 2), (8, 1)]);
}

#[tokio::test]
async fn what_could_not_be_published_is_published_again_until_it_is_kept() {
    let checking = Checking::start(of_shard(3, 1), BTreeMap::from([(3, 7)]), 3, Arc::new(|_, _| true)).await;
    checking.until("it is kept", |checking| checking.kept.len() == 1).await;
    let probes = checking.tasks.count(1);
    checking.probes(1, 3).await;
    assert_eq!((checking.kept.len(), checking.kept.refused.lock().unwrap().len()), (1, 3));
    let (kept, _) = checking.kept.all().remove(0);
    assert_eq!((kept.healthy, kept.assignment, kept.counter), (true, 7, 4));
    assert!(probes >= 4, "each time with a probe");
}

#[tokio::test]
async fn nothing_is_published_when_more_than_half_of_a_shard_fails_at_once() {
    let sick: Arc<Mutex<BTreeSet<usize>>> = Arc::default();
    let script = {
        let sick = Arc::clone(&sick);
        move |task: usize, _: usize| !sick.lock().unwrap().contains(&task)
    };
    let checking = Checking::start(of_shard(3, 12), BTreeMap::from([(3, 7)]), 0, Arc::new(script)).await;
    checking.until("all are well", |checking| checking.kept.len() == 12).await;
    *sick.lock().unwrap() = (1..=12).collect();
    for task in 1..=12 {
        checking.probes(task, 8).await;
    }
    assert_eq!(checking.kept.len(), 12, "rather the checker is cut off");
    // Some are bad indeed; the others answer again.
    *sick.lock().unwrap() = (1..=4).collect();
    checking.until("four are bad", |checking| checking.kept.len() == 16).await;
    checking.probes(12, 5).await;
    let bad: BTreeSet<String> = checking.kept.all().drain(12..).map(|(health, _)| health.task).collect();
    assert_eq!(bad, checking.ids[..4].iter().cloned().collect());
}

#[tokio::test]
async fn a_few_tasks_that_fail_together_are_published() {
    let is_well = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let script = {
        let is_well = Arc::clone(&is_well);
        move |_: usize, _: usize| is_well.load(Ordering::SeqCst)
    };
    let checking = Checking::start(of_shard(3, 9), BTreeMap::from([(3, 7)]), 0, Arc::new(script)).await;
    checking.until("all are well", |checking| checking.kept.len() == 9).await;
    is_well.store(false, Ordering::SeqCst);
    checking.until("all are bad", |checking| checking.kept.len() == 18).await;
}

#[test]
fn the_interval_grows_so_that_the_rate_is_kept() {
    let options = Options { interval: Duration::from_secs(5), probes_per_second_max: 100, ..Options::default() };
    assert_eq!(interval_of(&options, 10), Duration::from_secs(5));
    assert_eq!(interval_of(&options, 500), Duration::from_secs(5));
    assert_eq!(interval_of(&options, 1_000), Duration::from_secs(10));
    assert_eq!(interval_of(&Options { probes_per_second_max: 0, ..options }, 7), Duration::from_secs(7));
}

/// New tasks are asked often, but no more often than probes are allowed: else the checker itself makes them fail.
#[tokio::test]
async fn many_new_tasks_share_the_probes_that_are_allowed() {
    const TASKS: usize = 60;
    let options = Options { probes_per_second_max: 50, ..Options::default() };
    let shards = BTreeMap::from([(3, 7)]);
    let began = Instant::now();
    let checking = Checking::start_with(of_shard(3, TASKS), shards, 0, Arc::new(|_, _| true), options).await;
    checking.until("all are healthy", |checking| checking.kept.all().len() >= TASKS).await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(1), "{TASKS} probes within {took:?}");
    let counts: Vec<usize> = (1..=TASKS).map(|task| checking.tasks.count(task)).collect();
    assert!(counts.iter().all(|count| (1..=3).contains(count)), "nobody is asked before the others: {counts:?}");
}
