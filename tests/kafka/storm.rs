//! A member of the group that joins and leaves all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use millstream_tests::parts::Kafka;
use millstream_tests::{Generator, Millstream, soak};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::time::Instant;

use super::fleet::{Fleet, PATIENCE};
use super::load::Load;

const EVERY: Duration = Duration::from_millis(300);
/// In each of so many parts of the storm something moves; on a busy machine a part goes on until it does, at most so long.
const PARTS: u32 = 4;
const MOVES_WITHIN: Duration = Duration::from_secs(30);
/// How far the topic is ahead. The foreign member may keep a partition all the time: what comes of it until the storm is
/// over must not be all that there may be, or nothing is left to move in the others.
const AHEAD: i64 = 150_000;

/// Joins the group and leaves it, again and again.
fn storm(fleet: &Fleet, stop: &AtomicBool, joins: &AtomicU32) {
    let mut config = fleet.topics.client();
    config.set("group.id", &fleet.group).set("partition.assignment.strategy", "range");
    config.set("session.timeout.ms", "6000").set("enable.auto.commit", "false");
    while !stop.load(SeqCst) {
        let member: BaseConsumer = config.create().unwrap();
        member.subscribe(&[&fleet.topic]).unwrap();
        let began = std::time::Instant::now();
        while began.elapsed() < EVERY {
            // What it is given it keeps from others and throws away.
            drop(member.poll(EVERY.saturating_sub(began.elapsed())));
        }
        joins.fetch_add(1, SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_member_joins_and_leaves_all_the_time() {
    let Some(kafka) = Kafka::shared().await else { return };
    let calm = Duration::from_secs(4);
    let length = Duration::from_secs(if soak() { 60 } else { 12 });
    let mut generator = Generator::new("kafka storm");
    generator.keys = 5_000;
    let fleet = Arc::new(Fleet::new(&kafka.topics, kafka.bootstrap(), 6).await);
    let mut processes: Vec<Millstream> = Vec::new();
    for _ in 0..3 {
        processes.push(fleet.setup().start().await);
    }
    let load = Load::start(&fleet, generator, AHEAD);
    fleet.moves_by_all(&processes).await;
    let began = Instant::now();
    let before = fleet.committed().await;
    tokio::time::sleep(calm).await;
    let normal = (fleet.committed().await - before) as f64 / began.elapsed().as_secs_f64();

    let stop = Arc::new(AtomicBool::new(false));
    let joins = Arc::new(AtomicU32::new(0));
    let foreign = {
        let fleet = Arc::clone(&fleet);
        let stop = Arc::clone(&stop);
        let joins = Arc::clone(&joins);
        tokio::task::spawn_blocking(move || storm(&fleet, &stop, &joins))
    };
    let mut parts = Vec::new();
    for _ in 0..PARTS {
        let began = Instant::now();
        let before = fleet.committed().await;
        tokio::time::sleep(length / PARTS).await;
        while fleet.committed().await == before && began.elapsed() < MOVES_WITHIN {
            tokio::time::sleep(EVERY).await;
        }
        parts.push((fleet.committed().await - before) as f64 / began.elapsed().as_secs_f64());
    }
    stop.store(true, SeqCst);
    foreign.await.unwrap();
    fleet.moves_by_all(&processes).await;
    let events = load.end().await;
    let healed = Instant::now();
    fleet.holds(&events, PATIENCE).await;
    let joins = joins.load(SeqCst);
    println!(
        "{joins} joins in {length:?}, {} events; {normal:.0}/s undisturbed, in the storm {parts:.0?}/s; drained {:.1} s after",
        events.len(),
        healed.elapsed().as_secs_f64(),
    );
    for process in processes {
        process.finish().await;
    }
    assert!(joins >= 10, "{joins} joins");
    assert!(parts.iter().all(|rate| *rate > 0.0), "nothing moved in a part of the storm: {parts:.0?}/s");
}
