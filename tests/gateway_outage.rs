//! The database is away, or comes back at an older state: a gateway serves what it has, says so, and is where the database
//! is soon after it is back.

use std::time::Duration;

use millstream_tests::{Database, Proxy, database, until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::follower::{dump, restore};
use crate::serving::apart::{self, Apart};
use crate::serving::event::Task;
use crate::serving::follower::flip;
use crate::serving::load::{Load, answering, failed};
use crate::serving::model::{PORT, fleet};
use crate::serving::requests::{WITHIN, taken};
use crate::serving::setup;

/// How long it is away.
const AWAY: Duration = Duration::from_secs(20);
/// The rule is 2 s; a machine may be busy.
const IN_STEP_WITHIN: Duration = Duration::from_secs(30);

fn blue() -> Value {
    json!({ "selector": { "definition": "digits-blue:1" }, "port": PORT })
}

/// Tasks of another service, in one post.
fn others(from: usize, count: usize) -> String {
    let task = |number: usize| {
        let address = format!("127.66.{}.{}", number / 200, number % 200 + 1);
        Task { definition: "others:1".to_owned(), ..Task::running(&format!("other{number}"), &address) }
    };
    (from..from + count).map(|number| format!("{}\n", task(number).bridge())).collect()
}

/// Waits until the gateway is where the database is; how long that took.
async fn in_step(gateway: &Apart, database: &Database, from: Instant) -> Duration {
    until("the gateway to be in step", WITHIN, || async {
        let last = database.number("SELECT max(seq) FROM millstream.route_commit").await;
        (gateway.metric("applied_seq").await as i64 == last).then_some(())
    })
    .await;
    from.elapsed()
}

async fn no_more_to_write(database: &Database, tasks: i64) {
    until("all events to be written", WITHIN, || async {
        (database.number("SELECT count(*) FROM millstream.task").await == tasks).then_some(())
    })
    .await;
}

/// What a gateway has of the service is what the tables have.
async fn equals(gateway: &Apart, database: &Database) {
    let stored = "SELECT coalesce(jsonb_agg(jsonb_build_array(id, standing) ORDER BY id), '[]')::text
                  FROM analytics.tasks WHERE service = 'digits' AND standing <> 'gone'";
    let stored: String = sqlx::query_scalar(stored).fetch_one(&mut database.connect().await).await.unwrap();
    let table = gateway.table("digits").await;
    let mut tasks: Vec<Value> = Vec::new();
    for revision in table["revisions"].as_array().unwrap() {
        let members = revision["tasks"].as_array().unwrap();
        tasks.extend(members.iter().map(|task| json!([task["id"], task["state"]])));
    }
    tasks.sort_by_key(Value::to_string);
    assert_eq!(Value::from(tasks), serde_json::from_str::<Value>(&stored).unwrap(), "{table}");
    let generation = database.number("SELECT generation FROM millstream.alias").await;
    assert_eq!(table["aliases"][0]["newest"], generation, "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_a_gateway_serves_and_starts_and_is_in_step_soon_after() {
    let database = database().await;
    let writes = setup(&database);
    let millstream = writes.start().await;
    let mut models = fleet(&millstream, writes.scratch(), 20, 3, blue()).await;
    let proxy = Proxy::start(&database).await;
    let setup = apart::setup(&proxy.url()).allow("database").allow("routes");
    let gateway = Apart::start(&setup);
    gateway.says("it to be ready", |ready, _| ready).await;
    in_step(&gateway, &database, Instant::now()).await;
    let load = Load::start(gateway.listen, 4);
    until("the first answers", WITHIN, || async { (load.answers() > 20).then_some(()) }).await;

    // Away while it runs.
    let began = Instant::now();
    proxy.stall();
    gateway.says("the database to be away", |ready, said| ready && said["database"] == false).await;
    tokio::time::sleep_until(began + AWAY).await;
    gateway.says("it to be ready still", |ready, _| ready).await;
    let heard = load.end().await;
    assert!(heard.len() > 200, "there was load: {}", heard.len());
    assert!(failed(&heard, began).is_empty(), "{:?}", failed(&heard, began));

    // Away while it starts: all it has is its file.
    let mut gateway = gateway;
    gateway.process.terminate();
    gateway.process.wait().await;
    gateway.process.check_log();
    let began = Instant::now();
    let gateway = Apart::start(&setup);
    let said = gateway.says("it to be ready from its file", |ready, _| ready).await;
    println!("ready from its file after {:?}", began.elapsed());
    assert!(said["database"] == false && said["detail"].is_string(), "it says that it is alone: {said}");
    let load = Load::start(gateway.listen, 4);
    until("answers", WITHIN, || async { (load.answers() > 20).then_some(()) }).await;

    // 500 changes meanwhile, one of them a task that the gateway serves.
    let gone = models.remove(0);
    taken(&millstream, "ecs", others(0, 499)).await;
    taken(&millstream, "ecs", gone.task.next("STOPPED", "STOPPED").bridge()).await;
    no_more_to_write(&database, 502).await;
    until("the last change", WITHIN, || async {
        (database.number("SELECT count(*) FROM millstream.task WHERE rank = 2").await == 1).then_some(())
    })
    .await;
    let back = Instant::now();
    proxy.resume();
    let took = in_step(&gateway, &database, back).await;
    println!("in step {took:?} after the database");
    assert!(took < IN_STEP_WITHIN, "{took:?}");
    equals(&gateway, &database).await;
    let since = Instant::now();
    until("answers since", WITHIN, || async { (load.answers() > 400).then_some(()) }).await;
    let heard = load.end().await;
    assert!(failed(&heard, began).is_empty(), "{:?}", failed(&heard, began));
    assert!(!answering(&heard, since).contains(&*gone.task.id), "what is gone gets nothing");
    assert_eq!((gateway.metric("db_rewound_total").await, gateway.metric("digest_total").await), (0.0, 0.0));
    let table = gateway.table("digits").await;
    let tasks = table["revisions"][0]["tasks"].as_array().unwrap();
    assert!(tasks.iter().all(|task| task["on_probation"] == false), "the database has confirmed the file: {table}");
    gateway.process.finish().await;
    millstream.finish().await;
}

/// Dump, 50 changes, restore, 80 others: whether the gateway looks in between or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_restored_and_went_on_is_followed() {
    for looks_between in [true, false] {
        let database = database().await;
        // Each process that follows says that it was taken back.
        let writes = setup(&database).allow("read anew");
        let millstream = writes.start().await;
        let models = fleet(&millstream, writes.scratch(), 21 + u8::from(looks_between), 2, blue()).await;
        dump(&database).await;
        let gateway = Apart::start(&apart::setup(&database.url()).allow("read anew"));
        gateway.says("it to be ready", |ready, _| ready).await;
        taken(&millstream, "ecs", others(0, 49)).await;
        taken(&millstream, "ecs", models[0].task.next("STOPPED", "STOPPED").bridge()).await;
        no_more_to_write(&database, 51).await;
        until("the last change", WITHIN, || async {
            (database.number("SELECT count(*) FROM millstream.task WHERE rank = 2").await == 1).then_some(())
        })
        .await;
        in_step(&gateway, &database, Instant::now()).await;
        assert_eq!(gateway.table("digits").await["revisions"][0]["tasks"].as_array().unwrap().len(), 1);

        if !looks_between {
            gateway.process.signal(Signal::STOP);
        }
        restore(&database).await;
        taken(&millstream, "ecs", others(100, 79)).await;
        no_more_to_write(&database, 81).await;
        flip(&database, "blue").await;
        let back = Instant::now();
        gateway.process.signal(Signal::CONT);
        let took = in_step(&gateway, &database, back).await;
        assert!(took < IN_STEP_WITHIN, "{took:?}");
        equals(&gateway, &database).await;
        assert_eq!(gateway.table("digits").await["revisions"][0]["tasks"].as_array().unwrap().len(), 2, "back again");
        let counted = gateway.metric("db_rewound_total").await + gateway.metric("digest_total").await;
        assert_eq!(counted, 1.0, "it is counted once");
        gateway.process.finish().await;
        millstream.finish().await;
    }
}
