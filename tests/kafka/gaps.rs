//! What is not in the topic any more: it is put on record and said, and what is not concerned goes on.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millstream_tests::parts::{Kafka, Topics};
use millstream_tests::{Event, Generator, Millstream, Model, Setup, compare, tables, until};
use tokio::time::Instant;

use super::fleet::{Fleet, PATIENCE};
use super::load::send;

const GAPS: [&str; 5] = [
    "judge::tell: halted",
    "records were lost: the partition is halted",
    "the lane is halted",
    "the topic is not there any more",
    "the topic was deleted and made again",
];

fn setup(fleet: &Fleet) -> millstream_tests::Setup {
    let more = ["the stream does not answer", "it is not known whether the topic is still there", "kafka client:"];
    GAPS.iter().chain(&more).fold(fleet.setup(), |setup, text| setup.allow(text))
}

/// Partitions that wait for a person, and why.
async fn halted(process: &Millstream) -> BTreeMap<String, String> {
    let status = process.get("/v1/status").await.json();
    serde_json::from_value(status["pipelines"][0]["halted"].clone()).unwrap()
}

async fn all_halted(process: &Millstream, partitions: usize) -> BTreeMap<String, String> {
    until("every partition to be halted", PATIENCE, || async {
        Some(halted(process).await).filter(|halted| halted.len() == partitions)
    })
    .await
}

/// What of these events went where it was not removed from.
fn left(events: &[Event], places: &[(i32, i64)], kept: impl Fn(i32, i64) -> bool) -> Vec<Event> {
    let there = events.iter().zip(places).filter(|(_, (partition, offset))| kept(*partition, *offset));
    there.map(|(event, _)| event.clone()).collect()
}

/// What `positions reset --partition 0 --to OFFSET` does.
async fn reset(fleet: &Fleet, offset: i64) {
    let sql = format!(
        "UPDATE millstream.lease SET owner = 'positions reset', epoch = epoch + 1, token = gen_random_uuid(),
         next_position = '{offset}', era = NULL, halted_at = NULL, halt_reason = NULL WHERE partition = '0'"
    );
    fleet.database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_lost_records_waits_to_be_told_and_the_others_go_on() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut generator = Generator::new("kafka truncated");
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    let setup = setup(&fleet);
    let process = setup.start().await;
    let first = generator.events(600);
    let second = generator.events(600);
    let third = generator.events(600);
    let places = send(&fleet, &first).await;
    fleet.holds(&first, PATIENCE).await;
    let stored = places.iter().filter(|(partition, _)| *partition == 0).count() as i64;
    process.finish().await;

    let places = send(&fleet, &second).await;
    let end = fleet.topics.watermarks(&fleet.topic, 0).await.1;
    let before = stored + (end - stored) / 2;
    assert!(stored < before && before < end, "{stored} < {before} < {end}");
    fleet.topics.delete_records(&fleet.topic, 0, before).await;
    let process = setup.start().await;
    let mut events = first.clone();
    events.extend(left(&second, &places, |partition, _| partition != 0));
    until("the other partitions to be read", PATIENCE, || async {
        (fleet.committed().await == events.len() as i64).then_some(())
    })
    .await;
    compare(&fleet.database, &Model::of(&events)).await;
    let why = halted(&process).await;
    assert_eq!(why.keys().collect::<Vec<_>>(), ["0"], "{why:?}");
    let command = "millstream positions reset --pipeline objects --partition 0 --to earliest";
    assert!(why["0"].contains(command), "{why:?}");
    process.logged(command, PATIENCE).await;
    let gap = format!(
        "SELECT count(*) FROM millstream.gap WHERE partition = '0' AND from_position = '{stored}' AND to_position = '{before}'"
    );
    assert_eq!((fleet.database.number(&gap).await, fleet.gaps().await), (1, 1));

    reset(&fleet, before).await;
    let told = Instant::now();
    events.extend(left(&second, &places, |partition, offset| partition == 0 && offset >= before));
    let lost = (before - stored) as usize;
    fleet.reaches(events.len() + lost, Duration::from_secs(20)).await;
    println!("went on {:.1} s after it was told to", told.elapsed().as_secs_f64());
    compare(&fleet.database, &Model::of(&events)).await;
    assert!(halted(&process).await.is_empty());
    send(&fleet, &third).await;
    events.extend(third);
    fleet.reaches(events.len() + lost, PATIENCE).await;
    compare(&fleet.database, &Model::of(&events)).await;
    process.finish().await;
}

/// A process that waits for a person says so with its exit code.
async fn end(mut process: Millstream) {
    process.terminate();
    assert_eq!(process.wait().await, 1, "{}", process.log());
    process.check_log();
}

/// A process that has read a topic to its end, and events that are not in it.
async fn filled(kafka: &Kafka, name: &str) -> (Fleet, Setup, Millstream, [Vec<Event>; 2]) {
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    fill(fleet, name).await
}

/// The same with a topic that is there.
async fn fill(fleet: Fleet, name: &str) -> (Fleet, Setup, Millstream, [Vec<Event>; 2]) {
    let mut generator = Generator::new(name);
    let setup = setup(&fleet);
    let process = setup.start().await;
    let old = generator.events(300);
    let new = generator.events(3_000);
    send(&fleet, &old).await;
    fleet.holds(&old, PATIENCE).await;
    (fleet, setup, process, [old, new])
}

/// A copy of a directory, as `cp -a` makes it.
fn copy(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// The broker comes back with data from before, as after an unclean election, and the partitions grow past every stored
/// position before anybody looks: the offsets are all there. The leader epoch stored with a position tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_truncated_and_grew_while_nobody_read_halts() {
    let Some(kafka) = Kafka::alone().await else { return };
    let mut generator = Generator::new("kafka truncated and grown");
    let fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    let setup = setup(&fleet);
    let process = setup.start().await;
    let first = generator.events(300);
    let lost = generator.events(300);
    let later = generator.events(3_000);
    send(&fleet, &first).await;
    fleet.holds(&first, PATIENCE).await;
    let data = kafka.part.directory().join("data");
    let kept = kafka.part.directory().join("kept");
    copy(&data, &kept);
    send(&fleet, &lost).await;
    let both = [first, lost].concat();
    fleet.holds(&both, PATIENCE).await;
    process.finish().await;
    kafka.part.process().kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    kafka.part.restart().await;
    send(&fleet, &later).await;

    let process = setup.start().await;
    let why = all_halted(&process, 3).await;
    assert!(why.values().all(|why| why.contains("was truncated and has grown since")), "{why:?}");
    assert_eq!(fleet.gaps().await, 3);
    fleet.holds(&both, PATIENCE).await;
    end(process).await;
}

/// Makes the topic anew, with more records than before: every old position is there, and means something else.
async fn recreate(fleet: &Fleet, topics: &Topics, events: &[Event]) {
    topics.delete(&fleet.topic).await;
    until("the topic to be gone", PATIENCE, || async { (topics.partitions(&fleet.topic).await == 0).then_some(()) })
        .await;
    topics.create(&fleet.topic, 3, &[]).await;
    send(fleet, events).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_anew_under_a_running_process_halts_it() {
    let Some(kafka) = Kafka::shared().await else { return };
    let (fleet, setup, process, [old, new]) = filled(kafka, "kafka made anew").await;
    recreate(&fleet, &kafka.topics, &new).await;
    let why = all_halted(&process, 3).await;
    // It may be read while it is still empty.
    let is_told = |why: &String| why.contains("deleted and made again") || why.contains("the topic was made anew");
    assert!(why.values().all(is_told), "{why:?}");
    assert_eq!(fleet.gaps().await, 3);
    fleet.holds(&old, PATIENCE).await;
    end(process).await;

    // It is the same after a restart, which knows the topic by its new id only.
    let process = setup.start().await;
    let said = process.logged("the tables were filled from stream", PATIENCE).await;
    assert!(said.contains("millstream positions reset --pipeline objects --to earliest"), "{said}");
    fleet.holds(&old, PATIENCE).await;
    end(process).await;
}

/// The first that it hears of the topic afterwards is its new id, and the records come right behind that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_anew_and_filled_while_the_process_stands_still_halts_it() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    // Much else is said, so that it is heard only by who hears everything.
    fleet.client_setting("debug", "all");
    let (fleet, _, process, [old, new]) = fill(fleet, "kafka made anew, asleep").await;
    process.freeze();
    recreate(&fleet, &kafka.topics, &new).await;
    process.thaw();
    let why = all_halted(&process, 3).await;
    assert!(why.values().all(|why| why.contains("deleted and made again")), "{why:?}");
    assert_eq!(fleet.gaps().await, 3);
    fleet.holds(&old, PATIENCE).await;
    end(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_anew_while_nobody_reads_halts_the_next_start() {
    let Some(kafka) = Kafka::shared().await else { return };
    let (fleet, setup, process, [_, new]) = filled(kafka, "kafka made anew, stopped").await;
    process.finish().await;
    recreate(&fleet, &kafka.topics, &new).await;
    let before = tables(&fleet.database).await;
    let process = setup.start().await;
    process.logged("the tables were filled from stream", PATIENCE).await;
    until("the loss to be on record", PATIENCE, || async { (fleet.gaps().await == 3).then_some(()) }).await;
    assert_eq!(tables(&fleet.database).await, before);
    end(process).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_is_missed_aloud() {
    let Some(kafka) = Kafka::shared().await else { return };
    let mut generator = Generator::new("kafka deleted");
    let mut fleet = Fleet::new(&kafka.topics, kafka.bootstrap(), 3).await;
    fleet.client_setting("topic.metadata.refresh.interval.ms", "1000");
    let process = setup(&fleet).start().await;
    let events = generator.events(300);
    send(&fleet, &events).await;
    fleet.holds(&events, PATIENCE).await;
    kafka.topics.delete(&fleet.topic).await;
    until("the status to say so", PATIENCE, || async {
        let status = process.get("/v1/status").await.json();
        let pipeline = &status["pipelines"][0];
        (pipeline["verdict"] == "braked" && pipeline["reason"].as_str()?.contains("not there any more")).then_some(())
    })
    .await;
    process.logged("the topic is not there any more", PATIENCE).await;
    kafka.topics.create(&fleet.topic, 3, &[]).await;
    all_halted(&process, 3).await;
    assert_eq!(fleet.gaps().await, 3);
    fleet.holds(&events, PATIENCE).await;
    end(process).await;
}
