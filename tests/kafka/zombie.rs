//! A process stands still for longer than the group waits, and wakes up when its partitions have another owner.

use std::sync::Arc;

use millstream_tests::parts::Kafka;
use millstream_tests::{Database, Generator, soak, until};
use sqlx::AssertSqlSafe;

use super::fleet::{Fleet, PATIENCE};
use super::load::{Load, send};

/// Every row of the tables with the transaction that wrote it: changes when anything is written, also the same again.
async fn traces(database: &Database) -> Vec<String> {
    let mut connection = database.connect().await;
    let mut traces = Vec::new();
    for table in ["objects", "bucket_count", "segment_count", "segment_change", "hour_count", "quarantine"] {
        let state = format!(
            "SELECT coalesce(md5(string_agg(t.ctid::text || t.xmin::text, ',' ORDER BY t.ctid)), '') FROM millstream.{table} t"
        );
        traces.push(sqlx::query_scalar(AssertSqlSafe(state)).fetch_one(&mut connection).await.unwrap());
    }
    traces
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_through_its_session_writes_nothing_of_what_others_have_now() {
    let Some(kafka) = Kafka::shared().await else { return };
    let fleet = Arc::new(Fleet::new(&kafka.topics, kafka.bootstrap(), 6).await);
    let processes = [fleet.setup().start().await, fleet.setup().start().await];
    let mut events = Vec::new();
    let rounds = if soak() { 5 } else { 2 };
    for round in 0..rounds {
        let mut generator = Generator::new("kafka zombie");
        generator.keys = 5_000;
        let later = generator.events(2_000);
        let load = Load::start(&fleet, generator, 10_000 - events.len() as i64);
        fleet.moves_by_all(&processes).await;
        let sleeper = &processes[round % 2];
        let owner = &processes[(round + 1) % 2];
        sleeper.freeze();
        until("the other to own everything", PATIENCE, || async {
            fleet.leases().await.values().all(|lease| lease.pid == owner.pid()).then_some(())
        })
        .await;
        fleet.moves_everywhere().await;
        events.extend(load.end().await);
        fleet.holds(&events, PATIENCE).await;

        let before = traces(&fleet.database).await;
        sleeper.thaw();
        until("the sleeper to be given something", PATIENCE, || async {
            fleet.leases().await.values().any(|lease| lease.pid == sleeper.pid()).then_some(())
        })
        .await;
        assert_eq!(traces(&fleet.database).await, before, "not one row was touched");
        let fenced = sleeper.lines().iter().filter(|line| line.contains("leases are taken again")).count();
        println!("the fence held the sleeper {fenced} times");
        send(&fleet, &later).await;
        events.extend(later);
        fleet.holds(&events, PATIENCE).await;
    }
    for process in processes {
        process.finish().await;
    }
}
