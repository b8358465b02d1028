//! Damage in the embedded stream stops the readers that have to pass it and nobody else, is told with what to do about
//! it, and is gone on after only when a person has decided so.

use std::path::PathBuf;
use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Millstream, Model, Setup, compare, database, until};

use crate::commands::command;
use crate::config::Ran;

const WITHIN: Duration = Duration::from_secs(30);
const GAPS: &str = "SELECT count(*) FROM millstream.gap";

/// Events of objects of their own, in both partitions.
fn events(from: u64) -> Vec<Event> {
    let event = |number: u64| Event::create("uploads", &format!("in/{number}"), DAY_NS + number * 1_000_000, 1);
    (from..from + 40).map(event).collect()
}

fn setup(database: &Database) -> Setup {
    Setup::new(database)
        .set("stream.partitions=2")
        .allow("cannot be read")
        .allow("set aside")
        .allow("halted")
        .allow("leases are taken again")
}

async fn post(running: &Millstream, events: &[Event]) {
    let answer = running.post(millstream_tests::event::lines(events)).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

fn ran(database: &Database, setup: &Setup, arguments: &[&str]) -> Ran {
    command(database, setup, &[arguments, &["--set", "stream.partitions=2"]].concat())
}

/// Three posts, each a frame of partition 0, all in the tables; the process has ended.
async fn filled(setup: &Setup) -> Vec<Event> {
    let running = setup.start().await;
    for from in [0, 100, 200] {
        post(&running, &events(from)).await;
    }
    running.caught_up(WITHIN).await;
    running.finish().await;
    [events(0), events(100), events(200)].concat()
}

fn segment(setup: &Setup) -> PathBuf {
    setup.data_dir().join("stream/topics/objects/0000/00000000000000000000.segment")
}

/// Flips a bit in the second frame of partition 0. Returns the offsets that this costs.
fn flip(setup: &Setup) -> (u64, u64) {
    let mut content = std::fs::read(segment(setup)).unwrap();
    let number = |at: usize| u64::from(u32::from_le_bytes(content[at..at + 4].try_into().unwrap()));
    // Records at byte 16 of a head of 56, bytes of payload at byte 20.
    let second = 56 + number(20) as usize;
    let lost = (number(16), number(16) + number(second + 16));
    content[second + 70] ^= 4;
    std::fs::write(segment(setup), content).unwrap();
    lost
}

async fn halted(running: &Millstream) -> serde_json::Value {
    until("a partition is halted", WITHIN, || async {
        let halted = running.get("/v1/status").await.json()["pipelines"][0]["halted"].take();
        halted.as_object().is_some_and(|halted| !halted.is_empty()).then_some(halted)
    })
    .await
}

#[tokio::test]
async fn one_flipped_bit_halts_one_partition_until_a_person_decides() {
    let database = database().await;
    let setup = setup(&database);
    let mut all = filled(&setup).await;
    let told = ran(&database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", "earliest"]);
    assert_eq!(told.code, 0, "{told:#?}");
    let (from, to) = flip(&setup);

    let running = setup.start().await;
    let halted = halted(&running).await;
    assert_eq!(halted.as_object().unwrap().keys().collect::<Vec<_>>(), ["0"]);
    let reason = halted["0"].as_str().unwrap();
    for part in ["0000/00000000000000000000.segment is damaged at byte", "millstream stream set-aside --partition 0"] {
        assert!(reason.contains(part), "{reason}");
    }
    // Events are taken in for both partitions, and the other one is written.
    let more = events(300);
    post(&running, &more).await;
    all.extend(more);
    until("the other partition is written", WITHIN, || async {
        let partitions = running.get("/v1/status").await.json()["pipelines"][0]["partitions"].take();
        (partitions[1]["lag_records"] == 0).then_some(())
    })
    .await;
    let doctor = ran(&database, &setup, &["doctor"]);
    let command = format!("millstream stream set-aside --pipeline objects --partition 0 --from {from}");
    assert!(
        doctor.code == 1 && doctor.out.contains("is damaged at byte") && doctor.out.contains(&command),
        "{doctor:#?}"
    );

    // A person looks, is asked, and decides, while the process runs.
    let set_aside =
        |more: &[&str]| ran(&database, &setup, &[&["stream", "set-aside", "--partition", "0"][..], more].concat());
    let looked = set_aside(&["--dry-run"]);
    assert!(looked.code == 0 && looked.out.contains("dry run"), "{looked:#?}");
    let asked = set_aside(&[]);
    assert!(asked.code == 1 && asked.err.contains("--yes"), "{asked:#?}");
    assert_eq!(database.number(GAPS).await, 0);
    let done = set_aside(&["--yes", "--json"]).json();
    assert_eq!((&done["set_aside"], &done["pipelines"][0]["loses_records"]), (&true.into(), &(to - from).into()));
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&all)).await;
    let gap = format!(
        "SELECT count(*) FROM millstream.gap WHERE partition = '0' AND from_position = '{from}' AND to_position = '{to}' AND reason LIKE '%given up%.segment is damaged at byte%'"
    );
    assert_eq!((database.number(GAPS).await, database.number(&gap).await), (1, 1));
    let checked = ran(&database, &setup, &["stream", "check"]);
    assert!(checked.code == 0 && checked.out.contains("no damage"), "{checked:#?}");
    running.finish().await;

    // Whoever reads the range again is told, and goes on behind it.
    let told = ran(&database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", "earliest"]);
    assert_eq!(told.code, 0, "{told:#?}");
    let setup = setup.allow("records were lost");
    let running = setup.start().await;
    let halted = self::halted(&running).await;
    assert!(halted["0"].as_str().unwrap().contains("set aside"), "{halted:#}");
    let command = format!("millstream positions reset --pipeline objects --partition 0 --to {to}");
    let shown = ran(&database, &setup, &["positions", "show"]);
    assert!(shown.out.contains(&format!("  {command}\n")), "{shown:#?}");
    let doctor = ran(&database, &setup, &["doctor"]);
    assert!(
        halted["0"].as_str().unwrap().contains(&command) && doctor.out.contains(&command),
        "{halted:#} {doctor:#?}"
    );
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let decided = ran(&database, &setup, &words);
    assert_eq!(decided.code, 0, "{decided:#?}");
    running.caught_up(WITHIN).await;
    running.finish().await;
}

#[tokio::test]
async fn damage_that_the_tables_are_past_halts_nothing() {
    let database = database().await;
    let setup = setup(&database);
    let mut all = filled(&setup).await;
    let (from, _) = flip(&setup);
    let running = setup.start().await;
    let more = events(300);
    post(&running, &more).await;
    all.extend(more);
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&all)).await;
    let checked = ran(&database, &setup, &["stream", "check", "--json"]);
    assert_eq!((checked.code, &checked.json()["damages"][0]["damage"]["from"]), (1, &from.into()));
    let done = ran(&database, &setup, &["stream", "set-aside", "--partition", "0"]);
    assert!(done.code == 0 && done.out.contains("nothing is lost"), "{done:#?}");
    let gap = "SELECT count(*) FROM millstream.gap WHERE reason LIKE '%already in the tables%'";
    assert_eq!((database.number(GAPS).await, database.number(gap).await), (1, 1));
    let again = ran(&database, &setup, &["stream", "set-aside", "--partition", "0"]);
    assert!(again.code == 1 && again.err.contains("has no damage"), "{again:#?}");
    running.finish().await;
}

#[tokio::test]
async fn an_end_that_was_not_copied_is_told_with_both_readings() {
    let database = database().await;
    let setup = setup(&database);
    let all = filled(&setup).await;
    let content = std::fs::read(segment(&setup)).unwrap();
    std::fs::write(segment(&setup), &content[..content.len() - 20]).unwrap();
    let doctor = ran(&database, &setup, &["doctor"]);
    assert!(doctor.code == 1 && doctor.out.contains("if this directory is a copy, copy"), "{doctor:#?}");
    let told = ran(&database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", "earliest"]);
    assert_eq!(told.code, 0, "{told:#?}");
    let mut running = setup.start().await;
    let halted = halted(&running).await;
    let reason = halted["0"].as_str().unwrap();
    assert!(reason.contains("copy") && reason.contains("else these records are lost"), "{reason}");
    running.terminate();
    assert_eq!(running.wait().await, 1, "a partition is halted");
    running.check_log();
    // It was a copy, and is copied again.
    std::fs::write(segment(&setup), &content).unwrap();
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    compare(&database, &Model::of(&all)).await;
    assert_eq!(database.number(GAPS).await, 0);
    running.finish().await;
}
