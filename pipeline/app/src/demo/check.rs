//! The tables against the model, in one snapshot.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};

use super::model::{Counts, Model, Upload};
use super::screen::say;
use crate::node::Node;

/// Differences shown before the rest is only counted.
const SHOWN_MAX: usize = 10;

/// Compares, and prints what differs; returns true if nothing does.
pub(super) async fn compare(node: &Node, model: &Model, poison: u64) -> anyhow::Result<bool> {
    let mut connection = PgConnection::connect_with(&node.connect).await?;
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut differences = Vec::new();

    let rows: Vec<(String, String, i64, String, Option<String>)> = sqlx::query_as(
        "SELECT bucket, key, size, coalesce(etag, ''), metadata ->> 'owner' FROM analytics.objects ORDER BY bucket, key",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let found: BTreeMap<(String, String), Upload> = rows
        .into_iter()
        .map(|(bucket, key, size, etag, owner)| {
            ((bucket, key), Upload { size: size as u64, etag, owner: owner.unwrap_or_default() })
        })
        .collect();
    let expected = model.objects();
    diff("object", &expected, &found, &mut differences);

    let deleted: i64 =
        sqlx::query_scalar("SELECT count(*) FROM millstream.objects WHERE kind = 3").fetch_one(&mut *snapshot).await?;
    if deleted as usize != model.deleted() {
        differences.push(format!("tombstones: {} expected, {deleted} found", model.deleted()));
    }

    let (buckets, segments) = model.counts();
    let rows: Vec<(String, Option<String>, i64, i64)> = sqlx::query_as(
        "SELECT bucket, segment, objects, bytes::bigint FROM analytics.object_counts WHERE objects <> 0",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let mut found_buckets = BTreeMap::new();
    let mut found_segments = BTreeMap::new();
    for (bucket, segment, objects, bytes) in rows {
        match segment {
            None => drop(found_buckets.insert(bucket, Counts { objects, bytes })),
            Some(segment) => drop(found_segments.insert((bucket, segment), Counts { objects, bytes })),
        }
    }
    diff("bucket count", &buckets, &found_buckets, &mut differences);
    diff("segment count", &segments, &found_segments, &mut differences);

    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "SELECT bucket, (extract(epoch FROM hour) / 3600)::bigint, created, removed FROM analytics.uploads_hourly WHERE created <> 0 OR removed <> 0",
    )
    .fetch_all(&mut *snapshot)
    .await?;
    let found_hours =
        rows.into_iter().map(|(bucket, hour, created, removed)| ((bucket, hour), (created, removed))).collect();
    diff("hour", &model.hours(), &found_hours, &mut differences);

    let quarantined: i64 =
        sqlx::query_scalar("SELECT count(*) FROM analytics.quarantine").fetch_one(&mut *snapshot).await?;
    if quarantined as u64 != poison {
        differences.push(format!("quarantine: {poison} planted, {quarantined} found"));
    }
    snapshot.rollback().await?;
    connection.close().await?;
    let summary = format!(
        "{} objects, {} deleted, {} buckets, {} segments, {poison} quarantined",
        expected.len(),
        model.deleted(),
        buckets.len(),
        segments.len(),
    );
    report(&differences, &summary);
    Ok(differences.is_empty())
}

fn report(differences: &[String], summary: &str) {
    for difference in differences.iter().take(SHOWN_MAX) {
        say(difference);
    }
    if differences.is_empty() {
        say(&format!("check: the tables equal the model: {summary}"));
    } else {
        say(&format!("check: {} differences", differences.len()));
    }
}

fn diff<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
    differences: &mut Vec<String>,
) {
    for (key, value) in expected {
        match found.get(key) {
            Some(there) if there == value => {}
            there => differences.push(format!("{what} {key:?}: expected {value:?}, found {there:?}")),
        }
    }
    for (key, value) in found {
        if !expected.contains_key(key) {
            differences.push(format!("{what} {key:?}: not expected, found {value:?}"));
        }
    }
}
