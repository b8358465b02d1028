//! The shape that failed in 2019, compared with ours: one transaction per event.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use millstream_postgres::sqlstate::{Verdict, verdict};
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::Shared;
use crate::bench::machine::family_cpu_seconds;

const SHOW: Duration = Duration::from_secs(10);

/// Writes single rows for ten seconds into a table of the same shape, and shows what a row costs PostgreSQL either way.
pub(super) async fn show(shared: &Arc<Shared>) {
    // Two at a time would measure each other.
    if shared.row_by_row.swap(true, Relaxed) {
        return shared.note("row by row: it runs already; its result comes within 10 s");
    }
    shared.note("one row per transaction for 10 s, beside ours ..");
    match measure(shared).await {
        Ok(text) => shared.note(text),
        Err(error) => shared.note(failed(&error)),
    }
    shared.row_by_row.store(false, Relaxed);
}

/// The error for people, instead of the driver's words.
fn failed(error: &anyhow::Error) -> String {
    let driver = error.chain().find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    if driver.is_some_and(|driver| matches!(verdict(driver), Verdict::SlowDown { reconnect: true })) {
        return "row by row: PostgreSQL went away in the middle, so there is nothing to compare; press r again when it is back"
            .to_owned();
    }
    let cause = match driver {
        Some(sqlx::Error::Database(database)) => database.message().to_owned(),
        _ => error.root_cause().to_string(),
    };
    format!("row by row: not measured: {}", cause.lines().next().unwrap_or_default())
}

async fn measure(shared: &Shared) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect_with(&shared.node.connect).await?;
    let postmaster = crate::bench::postmaster(&mut connection).await?;
    let progress =
        |shared: &Shared| shared.node.pipelines.iter().map(|one| one.progress.snapshot().records).sum::<u64>();
    // First ours alone, to know what it takes.
    let cpu = family_cpu_seconds(postmaster);
    let records = progress(shared);
    let began = Instant::now();
    tokio::time::sleep(SHOW / 2).await;
    let ours_cpu = family_cpu_seconds(postmaster) - cpu;
    let ours_rows = (progress(shared) - records).max(1);
    let ours_rate = ours_cpu / began.elapsed().as_secs_f64();

    sqlx::raw_sql(
        "SET client_min_messages = warning; CREATE SCHEMA IF NOT EXISTS row_by_row; DROP TABLE IF EXISTS row_by_row.objects; \
         CREATE TABLE row_by_row.objects (LIKE millstream.objects INCLUDING ALL)",
    )
    .execute(&mut connection)
    .await?;
    let cpu = family_cpu_seconds(postmaster);
    let began = Instant::now();
    let mut rows = 0u64;
    while began.elapsed() < SHOW / 2 {
        sqlx::query(
            "INSERT INTO row_by_row.objects (order_time, order_seq, desc_time, desc_seq, desc_hash, size, kind, order_class, current, store, bucket, key, version_id, etag, metadata) \
             VALUES ($1, 0, 0, 0, 0, 1, 1, 2, true, 'default', 'uploads', 'file ' || $1, '', '', '{\"owner\":\"owner-1\",\"stage\":\"raw\"}')",
        )
        .bind(rows as i64)
        .execute(&mut connection)
        .await?;
        rows += 1;
    }
    let seconds = began.elapsed().as_secs_f64();
    let theirs_cpu = (family_cpu_seconds(postmaster) - cpu - ours_rate * seconds).max(0.0);
    sqlx::raw_sql("DROP SCHEMA row_by_row CASCADE").execute(&mut connection).await?;
    connection.close().await?;
    let ms = |cpu: f64, rows: u64| cpu * 1000.0 / rows as f64;
    Ok(format!(
        "row by row: {:.0} rows/s at most on one connection, {:.3} CPU-ms a row in PostgreSQL; ours now: {:.3}, less when busier",
        rows as f64 / seconds,
        ms(theirs_cpu, rows.max(1)),
        ms(ours_cpu, ours_rows),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_says_is_said_in_our_words() {
        let gone = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(failed(&anyhow::Error::new(gone).context("connect")).contains("press r again"));
        let other = failed(&anyhow::anyhow!("no such table\nat line 207").context("measure"));
        assert_eq!(other, "row by row: not measured: no such table");
    }
}
