//! Large records, many partitions, and a database that takes its time: memory keeps within its budget.

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::parts::{Kafka, Record};
use millstream_tests::{Event, Generator, Model, Proxy, compare, soak, until};
use rand::{Rng as _, RngCore as _};

use super::fleet::{Fleet, PATIENCE};
use super::load::send;

const PARTITIONS: i32 = 90;
const BUDGET_BYTES: u64 = 512 << 20;
/// A record of a MiB with its envelope stays below what a broker takes.
const RECORD_BYTES: usize = 1_000_000;

/// The most memory that a process ever had.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// An event that is made large by white space, which no compression leaves large but the brokers store as it is.
fn large(event: &Event, filler: &[u8]) -> Vec<u8> {
    let mut payload = event.json();
    let blanks = filler.iter().map(|byte| if byte % 2 == 0 { b' ' } else { b'\t' });
    payload.extend(blanks.take(RECORD_BYTES.saturating_sub(payload.len())));
    payload
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_partitions_of_large_records_and_a_slow_database_fit_into_the_budget() {
    let Some(kafka) = Kafka::shared().await else { return };
    let records = if soak() { 20 } else { 8 };
    let mut generator = Generator::new("kafka memory");
    let mut filler = vec![0; RECORD_BYTES];
    generator.rng().fill_bytes(&mut filler);
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), PARTITIONS).await;
    let proxy = Proxy::start(&fleet.database).await;
    let url = format!("postgres.url={}", proxy.url());
    let setup = fleet.setup().set(&url).set(&format!("limits.memory_bytes={BUDGET_BYTES}"));
    let setup = setup.allow("NotLeaderForPartition");
    // Of a database that stands still.
    let setup = setup.allow("time to acquire exceeded slow threshold");
    // Of a broker that stores a gigabyte for others at the same time.
    let setup = setup.allow("it is not known whether the topic is still there");
    let process = setup.set("limits.stall_seconds=600").start().await;
    let mut events = generator.events(2_000);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    // The database stands still while everything is read ahead that may be, and then goes on.
    proxy.stall();
    for round in 0..records {
        let of_round: Vec<Event> = (0..PARTITIONS as u64)
            .map(|partition| {
                let number = round * 1_000 + partition;
                Event::create(
                    "uploads",
                    &format!("in/{number}"),
                    DAY_NS + number,
                    generator.rng().random_range(0..1 << 30),
                )
            })
            .collect();
        // Each codec in its turn: what it makes small grows again in the reader.
        let codec = ["none", "zstd", "lz4", "gzip", "snappy"][round as usize % 5];
        for (part, first) in of_round.chunks(15).zip((0..).step_by(15)) {
            let payloads: Vec<Vec<u8>> = part.iter().map(|event| large(event, &filler)).collect();
            let sent =
                |(payload, partition)| Record { partition: Some(partition), value: Some(payload), ..Record::default() };
            let sent: Vec<Record<'_>> = payloads.iter().map(Vec::as_slice).zip(first..).map(sent).collect();
            let settings = [("compression.type", codec), ("message.max.bytes", "2000000"), ("linger.ms", "50")];
            fleet.topics.send_with(&fleet.topic, &sent, &settings).await;
        }
        events.extend(of_round);
    }

    until("all to be read ahead that may be", PATIENCE, || async {
        let before = peak_bytes(process.pid());
        tokio::time::sleep(Duration::from_secs(3)).await;
        (peak_bytes(process.pid()) < before + (before >> 6)).then_some(())
    })
    .await;
    let ahead = peak_bytes(process.pid());
    proxy.resume();
    fleet.reaches(events.len(), 2 * PATIENCE).await;
    compare(&fleet.database, &Model::of(&events)).await;
    let peak = peak_bytes(process.pid());
    println!(
        "{} MB in {} records of {PARTITIONS} partitions; resident at most {} MiB while the database stood still, {} MiB in all, of {} MiB",
        records as usize * PARTITIONS as usize * RECORD_BYTES / 1_000_000,
        records * PARTITIONS as u64,
        ahead >> 20,
        peak >> 20,
        BUDGET_BYTES >> 20,
    );
    process.finish().await;
    assert!(peak <= BUDGET_BYTES, "{} MiB resident", peak >> 20);
}

/// A topic in a codec that the client lacks would be read never, and silently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_is_read_in_every_codec() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut generator = Generator::new("kafka codecs");
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 2).await;
    let process = fleet.setup().start().await;
    let mut events = Vec::new();
    for codec in ["zstd", "lz4", "gzip", "snappy"] {
        let part = generator.events(500);
        let texts: Vec<(String, Vec<u8>)> = part.iter().map(|event| (event.entity(), event.json())).collect();
        let records = texts.iter().map(|(key, value)| Record {
            key: Some(key.as_bytes()),
            value: Some(value),
            ..Record::default()
        });
        let records: Vec<Record<'_>> = records.collect();
        fleet.topics.send_with(&fleet.topic, &records, &[("compression.type", codec)]).await;
        events.extend(part);
        fleet.holds(&events, PATIENCE).await;
    }
    process.finish().await;
}
