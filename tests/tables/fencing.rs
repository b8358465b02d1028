//! Who lost a partition, or is not where the tables are, writes nothing.

use millstream_engine::SinkError;
use millstream_tests::Database;
use sqlx::AssertSqlSafe;

use super::domain::{Domain, batch, idle, numbered, put, writer};

/// Every row with the transaction that wrote it: changes when anything is written, also the same again.
async fn traces<D: Domain>(database: &Database) -> Vec<String> {
    let mut connection = database.connect().await;
    let mut traces = Vec::new();
    for table in [D::TABLE, "millstream.quarantine", "millstream.lease"] {
        let state = format!(
            "SELECT coalesce(md5(string_agg(t.ctid::text || t.xmin::text, ',' ORDER BY t.ctid)), '') FROM {table} t"
        );
        let state = sqlx::query_scalar(AssertSqlSafe(state));
        traces.push(state.fetch_one(&mut connection).await.unwrap());
    }
    traces
}

pub(super) async fn a_late_batch_of_a_former_owner_writes_nothing<D: Domain>() {
    let database = D::database().await;
    let mut former = writer::<D>(database.options(), &["0", "1"]).await;
    put::<D>(&mut former, &numbered::<D>(0..10)).await;
    let late = batch::<D>(&mut former, &[("0", &numbered::<D>(10..20))]);

    let mut owner = idle::<D>(database.options());
    owner.acquire(&["0"]).await.unwrap();
    put::<D>(&mut owner, &numbered::<D>(10..20)).await;
    let before = traces::<D>(&database).await;
    for _ in 0..3 {
        let refused = former.write(&late).await;
        assert!(matches!(&refused, Err(SinkError::Fenced { partition }) if partition.as_str() == "0"), "{refused:?}");
    }
    assert_eq!(traces::<D>(&database).await, before, "not one row was touched");
    D::holds(&database, &numbered::<D>(0..20)).await;

    // What it still owns it may write.
    let other = batch::<D>(&mut former, &[("1", &numbered::<D>(20..25))]);
    former.write(&other).await.unwrap();
    D::holds(&database, &numbered::<D>(0..25)).await;
}

pub(super) async fn a_batch_with_one_lost_partition_writes_nothing_of_the_other<D: Domain>() {
    let database = D::database().await;
    let mut former = writer::<D>(database.options(), &["0", "1"]).await;
    let both = batch::<D>(&mut former, &[("0", &numbered::<D>(0..5)), ("1", &numbered::<D>(5..10))]);
    let mut owner = idle::<D>(database.options());
    owner.acquire(&["1"]).await.unwrap();
    let refused = former.write(&both).await;
    assert!(matches!(&refused, Err(SinkError::Fenced { partition }) if partition.as_str() == "1"), "{refused:?}");
    D::holds(&database, &[]).await;
    let moved = database.number("SELECT count(next_position) FROM millstream.lease").await;
    assert_eq!(moved, 0, "no position moved");
}

/// A batch that is not the next one is refused, whichever way the stored position differs.
pub(super) async fn a_batch_from_another_position_writes_nothing<D: Domain>() {
    let database = D::database().await;
    let mut writer = writer::<D>(database.options(), &["0"]).await;
    put::<D>(&mut writer, &numbered::<D>(0..10)).await;
    let next = batch::<D>(&mut writer, &[("0", &numbered::<D>(10..20))]);
    for stored in ["'3'", "'15'", "'4711'", "NULL"] {
        database.execute(&format!("UPDATE millstream.lease SET next_position = {stored}")).await;
        let before = traces::<D>(&database).await;
        let refused = writer.write(&next).await;
        assert!(matches!(refused, Err(SinkError::Moved { .. })), "stored at {stored}: {refused:?}");
        assert_eq!(traces::<D>(&database).await, before);
    }
    database.execute("UPDATE millstream.lease SET next_position = '10'").await;
    writer.write(&next).await.unwrap();
    D::holds(&database, &numbered::<D>(0..20)).await;
}
