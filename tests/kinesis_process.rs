//! Processes that read a stream of Kinesis: what is posted goes through it, two divide its shards, and its records are
//! shown.

use std::time::Duration;

use millstream_tests::generator::DAY_NS;
use millstream_tests::kinesis::Shards;
use millstream_tests::parts::{Kinesalite, StandIn};
use millstream_tests::{Event, Model, Setup, compare, database, until};
use serde_json::Value;

use crate::config::millstream;

const WITHIN: Duration = Duration::from_secs(60);
const SHARDS: i32 = 4;

fn events(numbers: std::ops::Range<u64>) -> Vec<Event> {
    let event = |number| Event::create("uploads", &format!("in/{number}"), DAY_NS + number * 1_000_000_000, 7);
    numbers.map(event).collect()
}

fn settings(service: &StandIn, shards: &Shards) -> [String; 3] {
    [
        "stream.kind=kinesis".to_owned(),
        format!("stream.kinesis={{ endpoint = \"{}\", region = \"us-east-1\" }}", service.endpoint()),
        format!("pipeline.objects.source={{ kind = \"stream\", topic = \"{}\" }}", shards.name),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_posted_goes_through_the_shards_of_two_processes_and_is_shown() {
    let Some(service) = Kinesalite::shared().await else { return };
    let database = database().await;
    let shards = Shards::new(service, SHARDS).await;
    let settings = settings(service, &shards);
    let variables = shards.account.variables();
    let setup = || {
        // Who has a shard that was given to the other hears of it when it writes.
        let setup = Setup::new(&database).allow("leases are taken again");
        let setup = settings.iter().fold(setup, |setup, setting| setup.set(setting));
        variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))
    };
    let processes = [setup().start().await, setup().start().await];
    let owners = "SELECT count(DISTINCT owner) FROM millstream.lease";
    until("both to own shards", WITHIN, || async { (database.number(owners).await == 2).then_some(()) }).await;

    let all = events(0..300);
    let (first, second) = all.split_at(150);
    for (process, events) in processes.iter().zip([first, second]) {
        let posted = process.post(millstream_tests::event::lines(events)).await.unwrap();
        assert_eq!(posted.status, 202, "{}", posted.text());
    }
    let rows = "SELECT count(*) FROM millstream.objects";
    until("rows", WITHIN, || async { (database.number(rows).await == 300).then_some(()) }).await;
    compare(&database, &Model::of(&all)).await;
    for process in processes {
        process.finish().await;
    }

    let url = format!("postgres.url={}", database.url());
    let set: Vec<&str> = settings.iter().chain([&url]).flat_map(|setting| ["--set", setting]).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let scratch = setup();
    let show = |arguments: &[&str]| millstream(scratch.scratch(), &variables, &[arguments, &set].concat());
    let shown = show(&["consume", "-e", "--json"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let records: Vec<Value> = shown.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 300);
    assert!(records.iter().all(|record| record["partition"].as_str().unwrap().starts_with("shardId-")));
    let few = show(&["consume", "-c", "3", "-f", "%k\\n"]);
    assert_eq!((few.code, few.out.lines().count()), (0, 3), "{}", few.err);
    let reset = ["positions", "reset", "--pipeline", "objects", "--to"];
    let tried = show(&[&reset[..], &["earliest", "--dry-run"]].concat());
    assert!(tried.code == 0 && tried.out.contains("nothing was changed"), "{}{}", tried.out, tried.err);
    let back = "SELECT count(*) FROM millstream.lease WHERE next_position = 'oldest'";
    assert_eq!(database.number(back).await, 0);
    let done = show(&[&reset[..], &["earliest"]].concat());
    assert!(done.code == 0 && done.out.contains("4 positions set"), "{}{}", done.out, done.err);
    assert_eq!(database.number(back).await, i64::from(SHARDS));
    let refused = show(&[&reset[..], &["latest"]].concat());
    assert!(refused.code != 0 && refused.err.contains("write earliest"), "{}", refused.err);
    let again = setup().start().await;
    let read = "SELECT count(*) FROM millstream.lease WHERE next_position LIKE 'after:%'";
    until("all to be read again", WITHIN, || async {
        (database.number(read).await > 0 && database.number(back).await == 0).then_some(())
    })
    .await;
    again.finish().await;
    compare(&database, &Model::of(&all)).await;

    let refused = show(&["consume", "-o", "end"]);
    assert!(refused.code != 0 && refused.err.contains("leave -o and -p out"), "{}", refused.err);
}

/// The tables are of another stream of the same name, whose shards have the same names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_made_anew_goes_on_by_the_command_that_is_printed() {
    let Some(service) = Kinesalite::shared().await else { return };
    let database = database().await;
    let shards = Shards::new(service, 2).await;
    let settings = settings(service, &shards);
    let variables = shards.account.variables();
    let setup = settings.iter().fold(Setup::new(&database).allow(""), |setup, setting| setup.set(setting));
    let setup = variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value));
    let before = events(0..20);
    let after = events(20..40);
    let rows = "SELECT count(*) FROM millstream.objects";
    let running = setup.start().await;
    running.post(millstream_tests::event::lines(&before)).await.unwrap();
    until("rows", WITHIN, || async { (database.number(rows).await == 20).then_some(()) }).await;
    running.finish().await;

    shards.recreate(2).await;
    let running = setup.start().await;
    running.post(millstream_tests::event::lines(&after)).await.unwrap();
    let next = until("the halt", WITHIN, || async {
        let status = running.get("/v1/status").await.json();
        (status["state"] == "halted").then(|| status["next"].as_str().unwrap().to_owned())
    })
    .await;
    let printed = "positions reset --pipeline objects --to earliest";
    assert!(next.contains(printed), "{next}");
    let url = format!("postgres.url={}", database.url());
    let set: Vec<&str> = settings.iter().chain([&url]).flat_map(|setting| ["--set", setting]).collect();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments: Vec<&str> = printed.split(' ').collect();
    let done = millstream(setup.scratch(), &variables, &[&arguments[..], &set].concat());
    assert!(done.code == 0 && done.out.contains("2 positions set"), "{done:#?}");
    until("rows", WITHIN, || async { (database.number(rows).await == 40).then_some(()) }).await;
    running.finish().await;
    compare(&database, &Model::of(before.iter().chain(&after))).await;
}
