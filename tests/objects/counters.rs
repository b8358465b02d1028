//! Counters are exact: whoever writes, whatever is unknown, however many segments there are.

mod beside;
mod repair;
mod rows;
mod segments;
mod slots;

use std::time::Duration;

use millstream_tests::{Database, until};

/// Waits until so many sessions wait for a lock of another.
async fn waiting(database: &Database, sessions: i64) {
    until("sessions that wait for a lock", Duration::from_secs(60), || async {
        let waiting =
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        (database.number(waiting).await >= sessions).then_some(())
    })
    .await;
}

/// Transactions whose changes of segments are not added up yet.
async fn gathered(database: &Database) -> i64 {
    database.number("SELECT count(*) FROM millstream.segment_change").await
}

/// Every kind of wrong: a number that is off, a row that is gone, a row of something that was never there.
/// The tables are locked in the order in which writers come to them, so that none ends in a deadlock.
const DAMAGE: &str = "
    LOCK TABLE millstream.bucket_count, millstream.segment_count, millstream.hour_count IN EXCLUSIVE MODE;
    UPDATE millstream.bucket_count SET objects = objects + 3, bytes = bytes - 1000, unknown_size = 9 WHERE bucket = 'uploads';
    DELETE FROM millstream.bucket_count WHERE bucket = 'logs.eu';
    INSERT INTO millstream.bucket_count AS c VALUES ('default', 'never', 0, 5, 5, 5)
        ON CONFLICT (store, bucket, slot) DO UPDATE SET objects = c.objects + 5;
    UPDATE millstream.segment_count SET bytes = bytes * 2 + 1 WHERE bucket = 'uploads' AND segment = 'in/';
    DELETE FROM millstream.segment_count WHERE bucket = 'versioned';
    UPDATE millstream.hour_count SET created = created + 1, removed = removed - 1 WHERE bucket = 'uploads' AND hour = '2026-03-12 01:00Z';
    DELETE FROM millstream.hour_count WHERE bucket = 'versioned';
    INSERT INTO millstream.hour_count AS c VALUES ('default', 'logs.eu', '2031-05-01 07:00Z', 3, -1, 2, 12345678901234567890)
        ON CONFLICT (store, bucket, hour, slot) DO UPDATE SET removed = c.removed + 2";
