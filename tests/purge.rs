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

/// Instances and slices that are gone are removed, but for what a task still needs.
#[tokio::test]
async fn instances_and_slices_that_are_gone_are_removed_with_the_last_task_that_needs_them() {
    let database = database().await;
    let mut writer = writer(&database).await;
    let mut all = vec![told("gone", 2, true, 1), told("kept", 2, true, 2), told("lives", 1, false, 2)];
    let plain = |kind: &str, data: serde_json::Value| {
        let event = serde_json::json!({ "specversion": "1.0", "id": "1", "source": "/x", "time": "2026-12-01T00:00:00Z",
            "type": format!("millstream.{kind}.v1"), "data": data });
        event.to_string().into_bytes()
    };
    for (id, rank) in [("free", 2), ("named", 2), ("of_gone", 2), ("living", 0)] {
        all.push(plain("instance", serde_json::json!({ "id": id, "sequence": 1, "rank": rank })));
    }
    for (id, service, rank) in [("last", "digits", 2), ("former", "words", 2), ("newer", "words", 0)] {
        let data = serde_json::json!({ "id": id, "sequence": 1, "rank": rank, "namespace": "ml", "service": service });
        all.push(plain("slice", data));
    }
    let batch = writer.batch(&[("0", all)]);
    writer.write(&batch).await.unwrap();
    // The writer has no part in this: it writes what events say, which none of these does.
    let namings = [("kept", "instance", "named"), ("gone", "instance", "of_gone"), ("lives", "namespace", "ml")];
    for (task, column, value) in namings {
        database.execute(&format!("UPDATE millstream.task SET {column} = '{value}' WHERE id = '{task}'")).await;
    }
    for table in ["task", "instance", "slice"] {
        database.execute(&format!("UPDATE millstream.{table} SET at = now() - interval '9 days'")).await;
    }
    let mut connection = database.connect().await.into();
    let before_ms = now_ms() - 2 * DAY_MS;
    let mut left = async |dry_run: bool| {
        let removed = purge(&mut connection, before_ms, "", dry_run).await.unwrap();
        let rows = "SELECT id FROM millstream.task UNION ALL SELECT id FROM millstream.instance
                    UNION ALL SELECT id FROM millstream.slice ORDER BY 1";
        let rows: Vec<String> = sqlx::query_scalar(rows).fetch_all(&mut database.connect().await).await.unwrap();
        (removed, rows.join(" "))
    };
    let before = "former free gone kept last lives living named newer of_gone";
    assert_eq!(left(true).await, (4, before.to_owned()), "a dry run counts what all steps remove");
    assert_eq!(left(false).await, (3, "kept last lives living named newer of_gone".to_owned()));
    assert_eq!(left(false).await, (1, "kept last lives living named newer".to_owned()), "its last task was removed");
    assert_eq!(left(false).await.0, 0, "a living pod would be sent requests without the last slice of its service");
    // No pod is left in the namespace.
    database.execute("UPDATE millstream.task SET namespace = NULL").await;
    assert_eq!(left(false).await, (1, "kept lives living named newer".to_owned()));
}
