//! Which keys are looked up before they are written. It is a guess, and COPY says when it was wrong.

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::{Database, Event, Model, Writer, compare, database, until};

const SECOND: u64 = 1_000_000_000;
/// Batches after which a writer that met nothing new to it looks for what it remembers only.
const CALM: u64 = 8;
const KEYS: u64 = 10;

/// Events of keys with these numbers.
fn events(keys: std::ops::Range<u64>, at_ns: u64) -> Vec<Event> {
    keys.map(|key| Event::create("b", &format!("in/{key:04}"), at_ns, 10)).collect()
}

/// Descents of the key index by statements that look, once every session of a writer has said how many it made.
async fn looks(database: &Database) -> i64 {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'millstream writer'
                    AND datname = current_database()";
    until("writers to be gone", Duration::from_secs(30), || async {
        (database.number(sessions).await == 0).then_some(())
    })
    .await;
    database.number("SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'objects_pkey'").await
}

/// A writer that has written `written` batches, each of new keys, and their events.
async fn after(database: &Database, pipeline: &str, first: u64, written: u64) -> (Writer, Vec<Event>) {
    let mut writer = Writer::new(pipeline, database.options(), &["0"]).await;
    let mut all = Vec::new();
    for batch in 0..written {
        let begin = first + batch * KEYS;
        let new = events(begin..begin + KEYS, DAY_NS);
        writer.put(&new).await;
        all.extend(new);
    }
    (writer, all)
}

#[tokio::test]
async fn only_keys_that_were_written_lately_are_looked_up() {
    let database = database().await;
    let (mut writer, mut all) = after(&database, "objects", 0, CALM + 10).await;
    let again = [events(0..KEYS / 2, DAY_NS + SECOND), events(9_000..9_000 + KEYS, DAY_NS)].concat();
    let outcome = writer.put(&again).await;
    assert_eq!(outcome.written, again.len() as u64);
    drop(writer);
    assert_eq!(looks(&database).await, (CALM * KEYS + KEYS / 2) as i64);
    all.extend(again);
    compare(&database, &Model::of(&all)).await;
}

#[tokio::test]
async fn a_key_that_nobody_remembers_is_found_all_the_same_and_looked_for_from_then_on() {
    let database = database().await;
    let (mut writer, mut all) = after(&database, "objects", 0, CALM).await;
    let (mut other, others) = after(&database, "others", 1_000, 1).await;
    all.extend(others);
    // New ones, one that the other has written, older or newer than this, and one of its own.
    for (newer, known) in [(SECOND, 1_000), (0, 1_001)] {
        let mixed = [
            events(known..known + 1, DAY_NS + newer),
            events(2_000 + known..2_005 + known, DAY_NS),
            events(0..1, DAY_NS + SECOND),
        ]
        .concat();
        writer.put(&mixed).await;
        all.extend(mixed);
    }
    // The other, too, does not know what was written behind its back.
    let late = events(0..KEYS, DAY_NS + 5 * SECOND);
    other.put(&late).await;
    all.extend(late);
    drop((writer, other));
    compare(&database, &Model::of(&all)).await;

    let before = looks(&database).await;
    let (mut writer, _) = after(&database, "third", 5_000, CALM).await;
    writer.put(&events(1_000..1_001, DAY_NS + 6 * SECOND)).await;
    writer.put(&events(6_000..6_000 + KEYS, DAY_NS)).await;
    drop(writer);
    // What was not remembered was met by COPY, locked and then looked at; after that, all keys are.
    let looked = looks(&database).await - before;
    assert!(looked >= (CALM * KEYS + 1 + KEYS) as i64, "{looked}");
}
