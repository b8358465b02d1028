//! Damage in the embedded stream stops the readers that have to pass it and nobody else, is told with what to do about
//! it, and is gone on after only when a person has decided so.

use std::path::PathBuf;
use std::time::{Duration, Instant};

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
    let here = format!(" --data-dir {}", setup.data_dir().display());
    let checked = ran(&database, &setup, &["stream", "check"]);
    let give_up = format!("give these records up: {command}{here}");
    assert!(checked.code == 1 && checked.out.contains(&give_up), "{checked:#?}");
    assert!(reason.contains(&here), "{reason}");
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
    goes_on_behind(&database, setup, to).await;
}

/// Whoever reads the range again, which ends before `to`, is told, and goes on behind it.
async fn goes_on_behind(database: &Database, setup: Setup, to: u64) {
    let told = ran(database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", "earliest"]);
    assert_eq!(told.code, 0, "{told:#?}");
    let setup = setup.allow("records were lost");
    let running = setup.start().await;
    let halted = halted(&running).await;
    assert!(halted["0"].as_str().unwrap().contains("set aside"), "{halted:#}");
    let command = format!("millstream positions reset --pipeline objects --partition 0 --to {to}");
    let here = format!(" --data-dir {}", setup.data_dir().display());
    let shown = ran(database, &setup, &["positions", "show"]);
    assert!(shown.out.contains(&format!("  {command}{here}")), "{shown:#?}");
    let doctor = ran(database, &setup, &["doctor"]);
    assert!(
        halted["0"].as_str().unwrap().contains(&command) && doctor.out.contains(&command),
        "{halted:#} {doctor:#?}"
    );
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let decided = ran(database, &setup, &words);
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

/// A replay reads what can be read, says what cannot be and how it is gone on after, and ends: alone, and through a process
/// that runs. What was set aside it passes, and says so.
#[tokio::test]
async fn a_replay_over_damage_ends_and_says_what_it_did_not_read() {
    let database = database().await;
    let setup = setup(&database);
    let all = filled(&setup).await;
    let (from, to) = flip(&setup);
    let end = "SELECT next_position FROM millstream.lease WHERE pipeline = 'objects' AND partition = '0'";
    let end = u64::try_from(database.number(&format!("({end})::bigint")).await).unwrap();
    let replay = || {
        let began = Instant::now();
        let replayed = ran(&database, &setup, &["replay", "--from", "@0"]);
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}: {replayed:#?}", began.elapsed());
        replayed
    };
    let command = format!("millstream stream set-aside --pipeline objects --partition 0 --from {from}");
    let halts = |replayed: &Ran| {
        assert_eq!(replayed.code, 1, "{replayed:#?}");
        let read = all.len() as u64 - (end - from);
        let not =
            format!("partition 0: offsets {from} to {} were not read again; offsets 0 to {} were\n", end - 1, from - 1);
        for text in [&*format!("read {read} records again"), &*not, "every other partition was read to the end"] {
            assert!(replayed.out.contains(text), "{text}: {replayed:#?}");
        }
        for text in ["the replay halted: partition 0: ", "0000.segment is damaged at byte", &*command] {
            assert!(replayed.err.contains(text), "{text}: {replayed:#?}");
        }
    };
    halts(&replay());

    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    halts(&replay());
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let decided = ran(&database, &setup, &words);
    assert!(decided.code == 0 && decided.out.contains("nothing is lost"), "{decided:#?}");
    let gone = format!("partition 0: offsets {from} to {} are gone", to - 1);
    let passes = |replayed: &Ran| {
        let read = format!("read {} records again", all.len() as u64 - (to - from));
        assert!(replayed.code == 0 && replayed.out.contains(&read) && replayed.out.contains(&gone), "{replayed:#?}");
        assert!(!replayed.out.contains("not read again"), "{replayed:#?}");
    };
    passes(&replay());
    compare(&database, &Model::of(&all)).await;
    running.finish().await;
    passes(&replay());
    let left = "SELECT count(*) FROM millstream.lease WHERE pipeline <> 'objects'";
    assert_eq!((database.number(left).await, database.number(GAPS).await), (0, 1));
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

/// A description of a topic is there twice, and either is enough.
#[tokio::test]
async fn a_damaged_description_of_the_topic_is_written_again() {
    let database = database().await;
    let setup = setup(&database).allow("a topic's description is damaged");
    let mut all = filled(&setup).await;
    let topic = setup.data_dir().join("stream/topics/objects");
    let (meta, copy) = (topic.join("meta"), topic.join("meta.copy"));
    let whole = std::fs::read(&meta).unwrap();
    let mut damaged = whole.clone();
    damaged[40] = b'X';
    for (from, change) in [(300, Some(&damaged)), (400, None)] {
        match change {
            Some(damaged) => std::fs::write(&meta, damaged).unwrap(),
            None => std::fs::remove_file(&meta).unwrap(),
        }
        let running = setup.start().await;
        running.logged("objects/meta is damaged at byte", WITHIN).await;
        let more = events(from);
        post(&running, &more).await;
        all.extend(more);
        running.caught_up(WITHIN).await;
        running.finish().await;
        assert_eq!(std::fs::read(&meta).unwrap(), whole);
    }
    compare(&database, &Model::of(&all)).await;

    // Without either, both are named with what is wrong and what to do.
    std::fs::write(&meta, &damaged).unwrap();
    std::fs::remove_file(&copy).unwrap();
    let checked = ran(&database, &setup, &["stream", "check"]);
    let parts = ["meta is damaged at byte 40", "meta.copy is damaged at byte 0: the file is missing", "from a backup"];
    assert!(checked.code != 0 && parts.iter().all(|part| checked.err.contains(part)), "{checked:#?}");
    std::fs::write(&copy, &whole).unwrap();
    let checked = ran(&database, &setup, &["stream", "check"]);
    assert!(checked.code == 0 && checked.out.contains("no damage"), "{checked:#?}");
}

/// Allows what is said of files that are gone.
fn setup_of_loss(database: &Database) -> Setup {
    setup(database)
        .allow("the directory of a partition is missing")
        .allow("every segment is missing")
        .allow("records were lost")
}

/// Starts on a stream that has lost the files of a partition: it is halted with a gap from one position to another, and
/// nothing else is. Then a person gives up what is lost.
async fn goes_on_without(database: &Database, setup: &Setup, lost: u32, gap: (u64, u64), mut all: Vec<Event>) {
    let name = lost.to_string();
    let set_aside = format!("stream set-aside --pipeline objects --partition {lost} --from 0");
    let checked = ran(database, setup, &["stream", "check"]);
    let is_told = checked.out.contains("has lost every segment") && checked.out.contains(&set_aside);
    assert!(checked.code == 1 && is_told, "{checked:#?}");
    let running = setup.start().await;
    let halted = halted(&running).await;
    assert_eq!(halted.as_object().unwrap().keys().collect::<Vec<_>>(), [&name]);
    let reason = halted[&name].as_str().unwrap();
    assert!(reason.contains("the files with the records in between were lost"), "{reason}");
    let more = events(300);
    post(&running, &more).await;
    all.extend(more);
    until("the other partition is written", WITHIN, || async {
        let partitions = running.get("/v1/status").await.json()["pipelines"][0]["partitions"].take();
        (partitions[1 - lost as usize]["lag_records"] == 0).then_some(())
    })
    .await;
    let (from, to) = gap;
    let on_record = format!(
        "SELECT count(*) FROM millstream.gap WHERE partition = '{lost}' AND from_position = '{from}' AND to_position = '{to}' AND reason LIKE '%files%were lost%'"
    );
    assert_eq!((database.number(GAPS).await, database.number(&on_record).await), (1, 1));

    let words: Vec<&str> = set_aside.split(' ').chain(["--yes"]).collect();
    let done = ran(database, setup, &words);
    assert_eq!(done.code, 0, "{done:#?}");
    let objects = "SELECT count(*) FROM millstream.objects";
    until("what came since is written", WITHIN, || async {
        (database.number(objects).await == all.len() as i64).then_some(())
    })
    .await;
    running.caught_up(WITHIN).await;
    compare(database, &Model::of(&all)).await;
    let checked = ran(database, setup, &["stream", "check"]);
    assert!(checked.code == 0 && checked.out.contains("no damage"), "{checked:#?}");
    running.finish().await;
}

async fn stored(database: &Database, partition: u32) -> u64 {
    let next = format!("SELECT next_position::bigint FROM millstream.lease WHERE partition = '{partition}'");
    u64::try_from(database.number(&next).await).unwrap()
}

#[tokio::test]
async fn a_lost_directory_halts_its_partition_and_no_other() {
    let database = database().await;
    let setup = setup_of_loss(&database);
    let all = filled(&setup).await;
    std::fs::remove_dir_all(setup.data_dir().join("stream/topics/objects/0001")).unwrap();
    // The tables have everything, which nobody can know without the files: the next offset is left out.
    let end = stored(&database, 1).await;
    assert!(end > 0);
    goes_on_without(&database, &setup, 1, (end, end + 1), all).await;
}

#[tokio::test]
async fn lost_segments_are_told_as_lost_and_not_as_removed() {
    let database = database().await;
    let setup = setup_of_loss(&database);
    let all = filled(&setup).await;
    let end = stored(&database, 0).await;
    let told = ran(&database, &setup, &["positions", "reset", "--pipeline", "objects", "--to", "earliest"]);
    assert_eq!(told.code, 0, "{told:#?}");
    std::fs::remove_file(segment(&setup)).unwrap();
    goes_on_without(&database, &setup, 0, (0, end), all).await;
}
