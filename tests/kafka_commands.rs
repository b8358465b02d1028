//! The same commands on Kafka: what is posted lies in the topic, what is committed elsewhere is taken over, and positions
//! move while a process runs.

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::parts::{Kafka, Record, unique};
use millstream_tests::{Database, Event, Model, Setup, compare, database, until};
use serde_json::Value;

use crate::commands::command;
use crate::config::Ran;

const WITHIN: Duration = Duration::from_secs(60);

/// A topic on the shared broker, a database, and how to start processes on both.
struct Stage {
    kafka: &'static Kafka,
    database: Database,
    setup: Setup,
    topic: String,
}

impl Stage {
    async fn new(partitions: i32) -> Option<Self> {
        let kafka = Kafka::shared().await?;
        let database = database().await;
        let topic = unique("commands");
        kafka.topics.create(&topic, partitions, &[]).await;
        let source =
            format!("pipeline.objects.source={{ kind = \"stream\", topic = \"{topic}\", group = \"{topic}\" }}");
        let brokers = format!("stream.kafka.brokers={}", kafka.bootstrap());
        let setup = Setup::new(&database).set("stream.kind=kafka").set(&brokers).set(&source);
        Some(Stage { kafka, database, setup, topic })
    }

    /// Runs a command with the settings of the processes.
    fn command(&self, arguments: &[&str]) -> Ran {
        let settings = self.setup.settings();
        let set: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        command(&self.database, &self.setup, &[arguments, &set].concat())
    }

    async fn written(&self, objects: i64) {
        let sql = "SELECT count(*) FROM millstream.objects";
        until("rows", WITHIN, || async { (self.database.number(sql).await >= objects).then_some(()) }).await;
    }
}

fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
    numbers
        .map(|number| Event::create("uploads", &format!("in/{number}"), DAY_NS + number * 1_000_000_000, 7))
        .collect()
}

#[tokio::test]
async fn what_is_posted_goes_through_the_topic_and_is_told_by_every_command() {
    let Some(stage) = Stage::new(3).await else { return };
    let running = stage.setup.start().await;
    let events = events(0..300);
    let posted = running.post(millstream_tests::event::lines(&events)).await.unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text());
    stage.written(300).await;
    compare(&stage.database, &Model::of(&events)).await;

    let consumed = stage.command(&["consume", "-e", "--json"]);
    let records: Vec<Value> = consumed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((consumed.code, records.len()), (0, 300), "{}", consumed.err);
    let mut keys: Vec<&str> = records.iter().map(|record| record["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    let mut expected: Vec<String> = events.iter().map(Event::entity).collect();
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let last = stage.command(&["consume", "-e", "-o", "-1", "-f", "%p %o %k\\n"]);
    assert_eq!(last.out.lines().count(), 3, "the last record of each partition: {last:#?}");

    let lag = || async {
        let status = running.get("/v1/status").await.json();
        let partitions = status["pipelines"][0]["partitions"].as_array().cloned().unwrap_or_default();
        let caught_up = partitions.iter().all(|one| one["lag_records"] == 0 && one["lag_seconds"] == 0.0);
        (partitions.len() == 3 && caught_up).then_some(status)
    };
    let status = until("a lag of nothing in three partitions", WITHIN, lag).await;
    assert_eq!(status["pipelines"][0]["group"], stage.topic.as_str());
    let shown = stage.command(&["positions", "show", "--json"]).json();
    let next: u64 = shown["positions"].as_array().unwrap().iter().map(|one| number(&one["next_position"])).sum();
    assert_eq!(next, 300);
    let doctor = stage.command(&["doctor", "--json"]);
    assert!(doctor.out.contains("3 partitions, 300 records"), "{doctor:#?}");
    running.finish().await;

    let group = stage.kafka.topics.committed(&stage.topic, &stage.topic, 3).await;
    assert_eq!(group.into_iter().flatten().sum::<i64>(), 300, "lag tools see where the tables are");
}

#[tokio::test]
async fn positions_are_moved_back_while_a_process_runs() {
    let Some(stage) = Stage::new(3).await else { return };
    let running = stage.setup.clone().allow("leases are taken again").allow("in between").start().await;
    let events = events(0..200);
    running.post(millstream_tests::event::lines(&events)).await.unwrap();
    stage.written(200).await;
    let dry = stage.command(&["positions", "reset", "--pipeline", "objects", "--to", "earliest", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("nothing was changed"), "{dry:#?}");
    let reset = stage.command(&["positions", "reset", "--pipeline", "objects", "--to", "earliest"]);
    assert_eq!(reset.code, 0, "{reset:#?}");
    // Something new in each partition makes whoever was fenced notice; it reads from the beginning and comes to the end.
    let more = self::events(200..260);
    running.post(millstream_tests::event::lines(&more)).await.unwrap();
    stage.written(260).await;
    let read_again = || async {
        let status = running.get("/v1/status").await.json();
        (status["pipelines"][0]["records"].as_u64() >= Some(460)).then_some(())
    };
    until("everything to be read again", WITHIN, read_again).await;
    running.finish().await;
    compare(&stage.database, &Model::of(events.iter().chain(&more))).await;
}

#[tokio::test]
async fn a_range_of_time_is_read_again_beside_the_pipeline() {
    let Some(stage) = Stage::new(3).await else { return };
    let running = stage.setup.start().await;
    let events = events(0..200);
    running.post(millstream_tests::event::lines(&events)).await.unwrap();
    stage.written(200).await;
    let leases = "SELECT sum(epoch)::bigint FROM millstream.lease";
    let epochs = stage.database.number(leases).await;
    // As after a restore: rows are gone that the positions have passed.
    stage.database.execute("DELETE FROM millstream.objects WHERE key LIKE 'in/1%'").await;
    let dry = stage.command(&["replay", "--from", "@1", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("200 records would be read again"), "{dry:#?}");
    let none = stage.command(&["replay", "--from", "@1", "--to", "@2"]);
    assert!(none.code == 0 && none.out.contains("read 0 records"), "{none:#?}");
    let replayed = stage.command(&["replay", "--from", "@1"]);
    assert!(replayed.code == 0 && replayed.out.contains("read 200 records again: 111 events written"), "{replayed:#?}");
    stage.written(200).await;
    assert_eq!(stage.database.number(leases).await, epochs, "nobody was fenced, and no lease is left");
    running.finish().await;
}

/// The end of a transaction has an offset, and is no record.
#[tokio::test]
async fn a_topic_that_ends_with_a_transaction_is_read_to_its_end() {
    let Some(stage) = Stage::new(1).await else { return };
    let running = stage.setup.start().await;
    let events = events(0..20);
    send_in_a_transaction(&stage, &events).await;
    stage.written(20).await;
    let consumed = stage.command(&["consume", "-e", "--json"]);
    assert_eq!((consumed.code, consumed.out.lines().count()), (0, 20), "{consumed:#?}");
    let replayed = stage.command(&["replay", "--from", "@1"]);
    assert!(replayed.code == 0 && replayed.out.contains("read 20 records again"), "{replayed:#?}");
    running.finish().await;
}

async fn send_in_a_transaction(stage: &Stage, events: &[Event]) {
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
    let mut client = stage.kafka.topics.client();
    client.set("transactional.id", unique("commands"));
    let topic = stage.topic.clone();
    let bytes = events.iter().map(Event::json).collect::<Vec<_>>();
    let send = move || {
        let producer: BaseProducer = client.create().unwrap();
        producer.init_transactions(WITHIN).unwrap();
        producer.begin_transaction().unwrap();
        for payload in &bytes {
            producer.send(BaseRecord::<(), _>::to(&topic).payload(payload)).unwrap();
        }
        producer.flush(WITHIN).unwrap();
        producer.commit_transaction(WITHIN).unwrap();
    };
    tokio::task::spawn_blocking(send).await.unwrap();
}

#[tokio::test]
async fn the_offsets_of_another_consumer_are_taken_over() {
    let Some(stage) = Stage::new(3).await else { return };
    let old = events(0..30);
    let new = events(30..50);
    send(&stage, &old).await;
    // Another consumer has read the first thirty, and committed that to its group.
    let ends: Vec<i64> = join(&stage).await;
    commit(&stage, &ends).await;
    send(&stage, &new).await;

    let dry = stage.command(&["positions", "import", "--pipeline", "objects", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("nothing was changed"), "{dry:#?}");
    let imported = stage.command(&["positions", "import", "--pipeline", "objects"]);
    assert_eq!(imported.code, 0, "{imported:#?}");
    let running = stage.setup.start().await;
    stage.written(20).await;
    running.finish().await;
    compare(&stage.database, &Model::of(&new)).await;
    let gaps = "SELECT count(*) FROM millstream.gap";
    assert!(stage.database.number(gaps).await > 0, "what was left out is on record");
}

async fn send(stage: &Stage, events: &[Event]) {
    let bytes: Vec<(String, Vec<u8>)> = events.iter().map(|event| (event.entity(), event.json())).collect();
    let records: Vec<Record<'_>> = bytes
        .iter()
        .map(|(key, value)| Record { key: Some(key.as_bytes()), value: Some(value), ..Record::new("", "") })
        .collect();
    stage.kafka.topics.send(&stage.topic, &records).await;
}

/// Where each partition ends.
async fn join(stage: &Stage) -> Vec<i64> {
    let mut ends = Vec::new();
    for partition in 0..3 {
        ends.push(stage.kafka.topics.watermarks(&stage.topic, partition).await.1);
    }
    ends
}

/// Commits these offsets to the group, as a consumer of it does.
async fn commit(stage: &Stage, ends: &[i64]) {
    use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    let mut client = stage.kafka.topics.client();
    client.set("group.id", &stage.topic);
    let mut list = TopicPartitionList::new();
    for (partition, end) in ends.iter().enumerate() {
        list.add_partition_offset(&stage.topic, partition as i32, Offset::Offset(*end)).unwrap();
    }
    let done = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = client.create().unwrap();
        consumer.commit(&list, CommitMode::Sync).unwrap();
    });
    done.await.unwrap();
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}
