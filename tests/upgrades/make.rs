//! Makes such a directory with the program as it is now.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream_log::{Log, Options, Retention};
use millstream_tests::event::lines;
use millstream_tests::generator::DAY_NS;
use millstream_tests::stream::append;
use millstream_tests::{Database, Dialect, Event, Generator, Kind, Millstream, Setup, archive};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::{DATABASE, EVENTS, FIXTURES, LATER, STATEMENTS, STREAM};

const WITHIN: Duration = Duration::from_secs(60);
const PARTITIONS: u32 = 3;
/// So small that a partition has several segments, and retention something to remove.
const SEGMENT_BYTES: u64 = 6_000;
const KEPT_BYTES: u64 = 40_000;
/// Events that are in the stream before the program starts; the others are posted, a thousand at once.
const FIRST: usize = 600;
/// Objects with a first path segment each.
const WIDE: u64 = 800;

/// `MILLSTREAM_KEEP_IN=tests/upgrades/NNNN cargo test --test behaviours -- --ignored upgrades::make`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes a directory of tests/upgrades, once for each release"]
async fn keep_what_this_program_leaves_behind() {
    let directory = std::env::var_os("MILLSTREAM_KEEP_IN").expect("MILLSTREAM_KEEP_IN names the new directory");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = root.join(directory);
    std::fs::create_dir_all(&directory).unwrap();
    let setup =
        Setup::embedded().set(&format!("stream.partitions={PARTITIONS}")).set("pipeline.objects.concurrency.max=1");
    let (before, after) = events();
    let stream = setup.data_dir().join("stream");
    std::fs::create_dir_all(&stream).unwrap();
    fill(&stream, &before[..FIRST], None).await;

    let running = setup.clone().allow("record quarantined").start().await;
    running.caught_up(WITHIN).await;
    let wide = before.len() - WIDE as usize;
    post(&running, &before[FIRST..wide]).await;
    let mut connection = Database::private(setup.data_dir()).connect().await;
    leave_traces(&running, &mut connection).await;
    // Many counters in one transaction, the last one: they are gathered and not added up yet.
    post(&running, &before[wide..]).await;
    let gathered: i64 =
        sqlx::query_scalar("SELECT count(*) FROM millstream.segment_change").fetch_one(&mut connection).await.unwrap();
    assert!(gathered > 0, "no transaction changed enough counters");
    dump(&running, &directory.join(DATABASE)).await;
    connection.close().await.unwrap();
    running.finish().await;

    // What came after the tables were dumped is in the stream alone.
    fill(&stream, &after, Some(KEPT_BYTES)).await;
    archive::pack(&directory.join(STREAM), setup.data_dir(), "stream");
    archive::write(&directory.join(EVENTS), &before);
    archive::write(&directory.join(LATER), &after);
    let folders = ["metadata", "tables"].map(|sink| root.join("connectors/src/sinks").join(sink).join("sql"));
    std::fs::write(directory.join(STATEMENTS), statements(&folders)).unwrap();
}

/// The statements of the program, each behind its name.
fn statements(folders: &[PathBuf]) -> String {
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let text = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap();
        format!("-- {name}\n{}\n\n", std::fs::read_to_string(file).unwrap().trim_end())
    };
    files.iter().map(text).collect()
}

/// Events that the tables have, and those that only the stream has.
fn events() -> (Vec<Event>, Vec<Event>) {
    let mut generator = Generator::seeded(14);
    generator.keys = 60;
    // Whether an absent size of MinIO means an empty object was decided later.
    let plain = |event: &Event| event.kind != Kind::Create || event.dialect != Dialect::Minio || event.size.is_some();
    // They go into the stream first, because a POST is for one store.
    generator.store = "minio-b".to_owned();
    let mut before: Vec<Event> = generator.events(200).into_iter().filter(plain).collect();
    generator.store = "default".to_owned();
    before.extend(generator.events(700).into_iter().filter(plain));
    before.extend((0..WIDE).map(|at| Event::create("wide", &format!("s{at}/object"), DAY_NS + at * 1_000_000_007, 3)));
    let after = generator.events(250).into_iter().filter(plain).collect();
    (before, after)
}

async fn fill(directory: &Path, events: &[Event], kept_bytes: Option<u64>) {
    let retention = Retention { age: None, bytes: kept_bytes };
    let options = Options { segment_bytes: Some(SEGMENT_BYTES), retention, ..Options::default() };
    let log = Log::open(directory, options).unwrap();
    let topic = log.topic("objects", PARTITIONS).unwrap();
    for part in events.chunks(20) {
        append(&topic, part, None).await;
    }
    if kept_bytes.is_some() {
        let removed = log.enforce_retention().unwrap();
        println!("retention removed {removed:?}");
        assert!((0..PARTITIONS).all(|partition| topic.range(partition).start > 0), "nothing was removed");
    }
    log.close().unwrap();
}

async fn post(running: &Millstream, events: &[Event]) {
    for part in events.chunks(1_000) {
        let answer = running.post(lines(part)).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    running.caught_up(WITHIN).await;
}

/// The fixtures of all dialects, what is refused by decoder and database, and rows that other engines leave.
async fn leave_traces(running: &Millstream, connection: &mut PgConnection) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("schemas/fixtures");
    let json = [("content-type", "application/json")];
    for name in [
        "aws",
        "ceph",
        "cloud_events",
        "event_bridge",
        "event_bridge_deleted",
        "minio",
        "minio_marker",
        "plain",
        "plain_deleted",
        "plain_described",
        "rustfs",
        "sns",
        "sns_twice",
    ] {
        let text = std::fs::read_to_string(fixtures.join(format!("{name}.json"))).unwrap();
        let body = serde_json::from_str::<Value>(&text).unwrap().to_string();
        let path = format!("/v1/events?store={FIXTURES}");
        let answer = running.send(hyper::Method::POST, &path, &json, body).await.unwrap();
        assert_eq!(answer.status, 202, "{name}: {}", answer.text());
    }
    running.caught_up(WITHIN).await;
    let devil = "ALTER TABLE millstream.objects ADD CONSTRAINT devil CHECK (size <> 666)";
    sqlx::raw_sql(devil).execute(&mut *connection).await.unwrap();
    let bad = [
        r#"{"Records":[{"eventVersion":"2.1","eventName":"ObjectCreated:Put","eventTime":"2026-03-12T00:00:00Z","s3":{"bucket":{"name":"bad"},"object":{"key":"negative","size":-1}}},{"eventVersion":"2.1","eventName":"ObjectCreated:Put","eventTime":"9999-01-01T00:00:00Z","s3":{"bucket":{"name":"bad"},"object":{"key":"late","size":1}}}]}"#,
        r#"{"Records":[{"eventVersion":"2.1","eventName":"ObjectCreated:Put","eventTime":"2026-03-12T00:00:00Z","s3":{"bucket":{"name":"bad"},"object":{"key":"refused","size":666}}}]}"#,
    ];
    for body in bad {
        let answer = running.send(hyper::Method::POST, "/v1/events", &json, body).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    running.caught_up(WITHIN).await;
    let rows = "ALTER TABLE millstream.objects DROP CONSTRAINT devil;
        INSERT INTO millstream.gap (pipeline, incarnation, partition, from_position, to_position, reason)
            VALUES ('other', 'cluster topic', '2', '17', '20', 'retention has removed the records in between');
        INSERT INTO millstream.lease (pipeline, incarnation, partition, owner, epoch, token, next_position, renewed_at)
            VALUES ('other', 'cluster topic', '2', 'host-1', 3, gen_random_uuid(), '20', clock_timestamp());
        INSERT INTO millstream.member (pipeline, incarnation, name, joined_at, seen_at)
            VALUES ('shards', 'arn', 'host-1', clock_timestamp(), clock_timestamp());
        INSERT INTO millstream.assignment (pipeline, incarnation, partition, owner, number, assigned_at)
            VALUES ('shards', 'arn', 'shardId-000000000000', 'host-1', 4, clock_timestamp())";
    sqlx::raw_sql(rows).execute(connection).await.unwrap();
}

/// How people reach its private server, as it tells them.
async fn psql_line(running: &Millstream) -> String {
    let status = running.get("/v1/status").await.json();
    status["postgres"]["psql"].as_str().expect("a line for psql").to_owned()
}

async fn dump(running: &Millstream, to: &Path) {
    let line = psql_line(running).await;
    let mut command = Command::new("pg_dump");
    command.args(["--no-owner", "--no-acl"]).args(line.split_whitespace().skip(1));
    let dumped = command.output().unwrap();
    assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
    archive::write_text(to, &String::from_utf8(dumped.stdout).unwrap());
}
