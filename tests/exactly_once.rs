//! Each event takes effect once: when the process is killed, when the answer to COMMIT is lost, when two write the same.
//!
//! The counters are the witness: they are sums, so an effect that happens twice, or not at all, stays visible.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_engine::task;
use millstream_tests::client::Http;
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{
    Database, Event, Generator, Kind, Millstream, Model, Run, Setup, Stream, compare, database, soak,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::Row as _;
use tokio::sync::watch;
use tokio::time::Instant;

/// Producers that post events for as long as they are let, each post again until it is acknowledged.
struct Load {
    address: watch::Sender<Option<std::net::SocketAddr>>,
    stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<Event>>>,
    producers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(seed: u64, producers: u64) -> Self {
        let load = Load {
            address: watch::Sender::new(None),
            stop: Arc::default(),
            events: Arc::default(),
            producers: Vec::new(),
        };
        let produce = |number| {
            let address = load.address.subscribe();
            let stop = Arc::clone(&load.stop);
            task::spawn("producer", produce(seed, number, address, stop, Arc::clone(&load.events)))
        };
        let producers = (0..producers).map(produce).collect();
        Load { producers, ..load }
    }

    fn towards(&self, millstream: &Millstream) {
        self.address.send_replace(Some(millstream.address()));
    }

    async fn end(self) -> Vec<Event> {
        self.stop.store(true, SeqCst);
        for producer in self.producers {
            producer.await.unwrap();
        }
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

async fn produce(
    seed: u64,
    number: u64,
    mut address: watch::Receiver<Option<std::net::SocketAddr>>,
    stop: Arc<AtomicBool>,
    events: Arc<Mutex<Vec<Event>>>,
) {
    let mut rng = SmallRng::seed_from_u64(seed ^ number);
    let http = Http::default();
    let mut at_ns = DAY_NS + number;
    while !stop.load(SeqCst) {
        let mut some = |rng: &mut SmallRng| {
            at_ns += 1_000;
            let key = format!("in/{number}/{}", rng.random_range(0..20_000));
            let event = Event::create("uploads", &key, at_ns, rng.random_range(0..1 << 30));
            if rng.random_bool(0.2) { event.then(Kind::Delete, at_ns) } else { event }
        };
        let batch: Vec<Event> = std::iter::repeat_with(|| some(&mut rng)).take(100).collect();
        let body = bytes(lines(&batch));
        loop {
            let Some(there) = *address.borrow_and_update() else {
                address.changed().await.unwrap();
                continue;
            };
            let header = [("content-type", "application/x-ndjson")];
            match http.send(hyper::Method::POST, there, "/v1/events", &header, body.clone()).await {
                Ok(answer) if answer.status == 202 => break,
                Ok(answer) => assert!(matches!(answer.status.as_u16(), 429 | 503), "{}", answer.text()),
                // The process died under the request: nobody knows, so the same events are sent again.
                Err(_) => tokio::task::yield_now().await,
            }
        }
        events.lock().unwrap().extend(batch);
    }
}

fn bytes(body: Vec<u8>) -> bytes::Bytes {
    body.into()
}

/// What the writers are doing, as PostgreSQL sees it: the open transaction that has come furthest, or `idle`.
async fn stage(database: &Database) -> String {
    let mut connection = database.connect().await;
    let rows = sqlx::query(
        "SELECT query FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'millstream writer' AND xact_start IS NOT NULL",
    );
    let rows = rows.fetch_all(&mut connection).await.unwrap();
    let stages =
        ["begin", "lease_lock", "stored_select", "copy", "update", "quarantine", "counts", "advance", "commit"];
    let stage_of = |query: &str| {
        let query = query.to_lowercase();
        let says = |text: &str| query.contains(text);
        match () {
            () if says("commit") && !says("synchronous_commit") => 8,
            () if says("update millstream.lease") => 7,
            () if says("_count") || says("millstream.segment") => 6,
            () if says("insert into millstream.quarantine") => 5,
            () if says("update millstream.objects") || says("insert into millstream.objects") => 4,
            () if says("copy millstream.objects") => 3,
            () if says("millstream.objects") => 2,
            () if says("millstream.lease") => 1,
            () => 0,
        }
    };
    let furthest = rows.iter().map(|row| stage_of(row.get::<&str, _>(0))).max();
    furthest.map_or("idle".to_owned(), |at| stages[at].to_owned())
}

/// Records whose effect is committed.
async fn committed(database: &Database) -> i64 {
    database.number("SELECT coalesce(sum(next_position::bigint), 0) FROM millstream.lease").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_the_whole_process_under_load() {
    let kills = if soak() { 50 } else { 10 };
    let mut generator = Generator::new("kills");
    let database = database().await;
    let setup = Setup::new(&database);
    let mut millstream = setup.start().await;
    let load = Load::start(generator.seed, 3);

    let undisturbed = Duration::from_secs(if soak() { 10 } else { 4 });
    let began = Instant::now();
    load.towards(&millstream);
    tokio::time::sleep(undisturbed).await;
    let before = committed(&database).await;
    let normal = before as f64 / began.elapsed().as_secs_f64();

    let began = Instant::now();
    let mut stages: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..kills {
        // A random moment, not a wait for anything.
        tokio::time::sleep(Duration::from_millis(generator.rng().random_range(500..2_000))).await;
        // Standing still while we look, so that what we saw is where it dies.
        millstream.freeze();
        *stages.entry(stage(&database).await).or_default() += 1;
        millstream.kill();
        millstream = setup.start().await;
        load.towards(&millstream);
    }
    let disturbed = (committed(&database).await - before) as f64 / began.elapsed().as_secs_f64();
    let events = load.end().await;
    millstream.caught_up(Duration::from_secs(120)).await;
    compare(&database, &Model::of(&events)).await;
    millstream.finish().await;

    println!(
        "{kills} kills, stages {stages:?}, {} events; {normal:.0}/s undisturbed, {disturbed:.0}/s under kills",
        events.len()
    );
    let inside: u32 = stages.iter().filter(|(stage, _)| *stage != "idle").map(|(_, count)| count).sum();
    assert!(inside >= kills / 5, "{inside} of {kills} kills hit an open transaction");
    assert!(disturbed >= 0.3 * normal, "{disturbed:.0}/s under kills, {normal:.0}/s without");
}

/// Two sources deliver the same keys at the same time, one of them everything, the other a part, in other orders.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_that_tell_of_the_same_keys() {
    let mut generator = Generator::new("two sources");
    generator.keys = 100;
    let database = database().await;
    let stream = Stream::default();
    let one = stream.topic("one", 3);
    let other = stream.topic("other", 2);
    let events = generator.events(4_000);
    let all = generator.shuffled(&events, 0.1);
    let copies = generator.shuffled(&events[..2_500], 0.1);
    let runs = [("one", &one), ("other", &other)]
        .map(|(name, topic)| Run::start(name, topic, database.options(), Run::limits(2, 200)));
    let parts = all.chunks(500).map(Some).zip(copies.chunks(350).map(Some).chain(std::iter::repeat(None)));
    for (part, copied) in parts {
        tokio::join!(append(&one, part.unwrap_or(&[]), None), append(&other, copied.unwrap_or(&[]), None));
    }
    for run in &runs {
        run.caught_up(Duration::from_secs(60)).await;
    }
    for run in runs {
        assert!(run.stop().await.drained);
    }
    compare(&database, &Model::of(&events)).await;
}
