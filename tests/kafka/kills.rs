//! One of three processes is gone at any time.

use std::sync::Arc;
use std::time::Duration;

use millstream_engine::task;
use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, Millstream, soak};
use tokio::time::Instant;

use super::fleet::{Fleet, Lease, PATIENCE};
use super::load::Load;

const EVERY: Duration = Duration::from_secs(2);

/// Leases as they were at moments.
type Samples = Vec<(Instant, std::collections::BTreeMap<i32, Lease>)>;

/// How long it took from a kill until everything that the process had read moved again.
fn recovery(samples: &Samples, killed: Instant, pid: u32) -> Option<Duration> {
    let (_, before) = samples.iter().rfind(|(at, _)| *at <= killed)?;
    let own: Vec<_> = before.iter().filter(|(_, lease)| lease.pid == pid).collect();
    let moved = |leases: &std::collections::BTreeMap<i32, Lease>| {
        own.iter().all(|(partition, was)| leases.get(partition).is_some_and(|is| is.pid != pid && is.next > was.next))
    };
    let (at, _) = samples.iter().find(|(at, leases)| *at > killed && moved(leases))?;
    Some(*at - killed)
}

async fn sample(fleet: Arc<Fleet>, mut stop: tokio::sync::oneshot::Receiver<()>) -> Samples {
    let mut samples = Samples::new();
    while stop.try_recv().is_err() {
        samples.push((Instant::now(), fleet.leases().await));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    samples
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_three_processes_is_killed_all_the_time() {
    let Some(kafka) = Kafka::shared().await else { return };
    let (calm, kills) = if soak() { (Duration::from_secs(15), 30) } else { (Duration::from_secs(6), 6) };
    let mut generator = Generator::new("kafka kills");
    generator.keys = 5_000;
    let fleet = Arc::new(Fleet::new(&kafka.topics, kafka.bootstrap(), 6).await);
    let setups = [fleet.setup(), fleet.setup(), fleet.setup()];
    let mut processes: Vec<Millstream> = Vec::new();
    for setup in &setups {
        processes.push(setup.start().await);
    }
    let load = Load::start(&fleet, generator, 10_000);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let samples = task::spawn("samples", sample(Arc::clone(&fleet), stopped));
    fleet.moves_by_all(&processes).await;

    let began = Instant::now();
    let before = fleet.committed().await;
    tokio::time::sleep(calm).await;
    let normal = (fleet.committed().await - before) as f64 / began.elapsed().as_secs_f64();

    let began = Instant::now();
    let before = fleet.committed().await;
    let mut killed = Vec::new();
    for number in 0..kills {
        tokio::time::sleep_until(began + EVERY * number).await;
        let index = number as usize % processes.len();
        let pid = processes[index].pid();
        killed.push((Instant::now(), pid));
        processes[index].kill();
        processes[index] = setups[index].spawn();
    }
    tokio::time::sleep_until(began + EVERY * kills).await;
    let disturbed = (fleet.committed().await - before) as f64 / began.elapsed().as_secs_f64();

    for process in &mut processes {
        process.ready().await;
    }
    fleet.moves_by_all(&processes).await;
    let events = load.end().await;
    let healed = Instant::now();
    fleet.reaches(events.len(), PATIENCE).await;
    println!("drained {:.1} s after the last start", healed.elapsed().as_secs_f64());
    fleet.holds(&events, PATIENCE).await;
    stop.send(()).unwrap();
    let samples = samples.await.unwrap();
    for process in processes {
        process.finish().await;
    }

    let mut times: Vec<Duration> =
        killed.iter().map(|(at, pid)| recovery(&samples, *at, *pid).expect("it recovers")).collect();
    times.sort();
    let quantile = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64();
    println!(
        "{kills} kills, {} events; {normal:.0}/s undisturbed, {disturbed:.0}/s under kills; from a kill until its \
         partitions move: p50 {:.1} s, p99 {:.1} s",
        events.len(),
        quantile(0.5),
        quantile(0.99),
    );
    assert!(disturbed >= 0.3 * normal, "{disturbed:.0}/s under kills, {normal:.0}/s without");
}
