//! What is in quarantine is written again by a command.

use millstream_tests::{Event, Model, Setup, compare, database};
use serde_json::Value;

use super::{command, contents, event, with_refused};

#[tokio::test]
async fn what_was_refused_is_written_again_by_the_same_rules() {
    let database = database().await;
    let here = Setup::embedded();
    let setup = Setup::new(&database);
    let events = [
        event("in/new", 1, 666),
        event("in/overtaken", 1, 666),
        event("in/overtaken", 2, 10),
        event("in/newer", 1, 10),
        event("in/newer", 2, 666),
    ];
    with_refused(&database, &setup, &events, 3).await;
    compare(&database, &Model::of([&events[2], &events[3]])).await;

    // The one that was overtaken has nothing to write, so nothing is refused of it any more; the others stay.
    let again = command(&database, &here, &["quarantine", "redrive", "--all", "--json"]);
    let report = again.json();
    assert_eq!((again.code, &report["removed"], &report["filtered"]["stale"]), (1, &Value::from(1), &Value::from(1)));
    assert_eq!(report["kept"][0]["reason"], "refused_by_database", "{report}");
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 2);
    compare(&database, &Model::of([&events[2], &events[3]])).await;

    database.execute("ALTER TABLE millstream.objects DROP CONSTRAINT devil").await;
    let before = contents(&database).await;
    let dry = command(&database, &here, &["quarantine", "redrive", "--all", "--dry-run", "--json"]);
    assert_eq!(contents(&database).await, before);
    let real = command(&database, &here, &["quarantine", "redrive", "--all", "--json"]);
    assert_eq!((real.code, dry.code), (0, 0), "{real:#?}");
    for report in [real.json(), dry.json()] {
        assert_eq!((&report["removed"], &report["written"]), (&Value::from(2), &Value::from(2)), "{report}");
    }
    assert_eq!(database.number("SELECT count(*) FROM millstream.quarantine").await, 0);
    compare(&database, &Model::of(&events)).await;
}

/// The good records of a redrive land although a bad one is among them.
#[tokio::test]
async fn one_that_is_still_refused_holds_up_no_other() {
    let database = database().await;
    let here = Setup::embedded();
    let setup = Setup::new(&database);
    let events: Vec<Event> = (0..9).map(|number| event(&format!("in/{number}"), number, 666)).collect();
    with_refused(&database, &setup, &events, 9).await;
    database.execute("ALTER TABLE millstream.objects DROP CONSTRAINT devil; ALTER TABLE millstream.objects ADD CONSTRAINT devil CHECK (key <> 'in/4')").await;
    let ran = command(&database, &here, &["quarantine", "redrive", "--reason", "refused_by_database", "--json"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["removed"], report["kept"].as_array().unwrap().len()), (1, &Value::from(8), 1));
    compare(&database, &Model::of(events.iter().filter(|event| event.key != "in/4"))).await;
}
