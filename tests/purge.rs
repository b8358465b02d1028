//! Purging removes tasks that are long gone, and nothing that is still needed.

use millstream_connectors::sinks::routing::Tasks;
use millstream_connectors::sinks::routing::purge::purge;
use millstream_engine::clock::now_ms;
use millstream_tests::stream::{self, Writer};
use millstream_tests::{Database, database};

use crate::tables::tasks::{Told, decoder, log_holds, payload};

const DAY_MS: i64 = 86_400_000;

async fn writer(database: &Database) -> Writer<Tasks, millstream_connectors::sinks::routing::Decoder> {
    let options = stream::options("tasks", "test-stream", database.options());
    let mut writer = Writer::over(options, Tasks::default(), decoder());
    writer.acquire(&["0"]).await.unwrap();
    writer
}

fn told(id: &str, version: i64, is_stopped: bool, address: u8) -> Vec<u8> {
    payload(&Told { id: id.to_owned(), version, is_stopped, address: Some(address) }).to_vec()
}

async fn ids(database: &Database) -> Vec<String> {
    let ids = sqlx::query_scalar("SELECT id FROM millstream.task ORDER BY id");
    ids.fetch_all(&mut database.connect().await).await.unwrap()
}

#[tokio::test]
async fn a_task_that_is_long_gone_is_removed_unless_a_living_one_claims_its_address() {
    let database = database().await;
    let mut writer = writer(&database).await;
    let events = vec![
        told("gone", 2, true, 1),
        told("kept", 2, true, 2),
        told("recent", 2, true, 3),
        told("lives", 1, false, 2),
    ];
    let batch = writer.batch(&[("0", events)]);
    writer.write(&batch).await.unwrap();
    database.execute("UPDATE millstream.task SET at = now() - interval '9 days' WHERE id <> 'recent'").await;

    let mut connection = database.connect().await.into();
    let before_ms = now_ms() - 2 * DAY_MS;
    assert_eq!(purge(&mut connection, before_ms, "", true).await.unwrap(), 1, "a dry run counts");
    assert_eq!(ids(&database).await, ["gone", "kept", "lives", "recent"]);
    assert_eq!(purge(&mut connection, before_ms, "", false).await.unwrap(), 1);
    assert_eq!(purge(&mut connection, before_ms, "", false).await.unwrap(), 0, "nothing is left");
    assert_eq!(ids(&database).await, ["kept", "lives", "recent"]);
    log_holds(&database).await;
    let floor = "SELECT created_ms FROM millstream.task_floor WHERE source = 'default'";
    assert_eq!(database.number(floor).await, before_ms, "late events of it are not written any more");
}
