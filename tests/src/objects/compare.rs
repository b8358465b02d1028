//! Tables against the model, all in one snapshot.

use std::collections::BTreeMap;
use std::fmt::Debug;

use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::database::Database;
use crate::objects::model::{Count, Hour, Model, ObjectRow, RowName, Tables};

/// Differences shown per table: enough to see a pattern.
const SHOWN_MAX: usize = 8;

/// The tables and the views over them, in one snapshot.
#[derive(Debug)]
struct Snapshot {
    tables: Tables,
    /// `analytics.objects` by store, bucket and key; the rest as text.
    shown: BTreeMap<(String, String, String), String>,
    /// `analytics.object_counts` of whole buckets.
    shown_buckets: BTreeMap<(String, String), Count>,
    /// `analytics.uploads_hourly`.
    shown_hours: BTreeMap<(String, String, i64), Hour>,
}

/// Fails unless every table says what the model says.
///
/// # Panics
/// With the first differences of each table.
pub async fn compare(database: &Database, model: &Model) {
    let there = Snapshot::read(&mut database.connect().await).await.expect("read the tables");
    let tables = &there.tables;
    let expected = model.tables();
    let mut wrong = Vec::new();
    let shown = expected
        .objects
        .iter()
        .filter(|(_, row)| row.current)
        .map(|(name, row)| ((name.0.clone(), name.1.clone(), name.2.clone()), shown(name, row)));
    differences("objects", &tables.objects, &expected.objects, &mut wrong);
    differences("bucket_count", &tables.buckets, &expected.buckets, &mut wrong);
    differences("segment_count", &tables.segments, &expected.segments, &mut wrong);
    differences("hour_count", &tables.hours, &expected.hours, &mut wrong);
    differences("analytics.objects", &there.shown, &shown.collect(), &mut wrong);
    differences("analytics.object_counts", &there.shown_buckets, &expected.buckets, &mut wrong);
    differences("analytics.uploads_hourly", &there.shown_hours, &expected.hours, &mut wrong);
    assert!(wrong.is_empty(), "the tables (left) are not what the model (right) says:\n{}", wrong.join("\n"));
}

fn differences<K: Ord + Debug, V: PartialEq + Debug>(
    table: &str,
    there: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
    wrong: &mut Vec<String>,
) {
    let names = there.keys().chain(expected.keys().filter(|name| !there.contains_key(name)));
    let differing: Vec<&K> = names.filter(|name| there.get(name) != expected.get(name)).collect();
    if differing.is_empty() {
        return;
    }
    wrong.push(format!("{table}: {} of {} rows differ", differing.len(), expected.len()));
    for name in differing.into_iter().take(SHOWN_MAX) {
        wrong.push(format!("  {name:?}\n    - {:?}\n    + {:?}", there.get(name), expected.get(name)));
    }
}

/// What analysts see of a current row: no description that is older than the object.
fn shown(name: &RowName, row: &ObjectRow) -> String {
    let known = (row.described.0, row.described.1) >= row.order;
    let version = Some(&name.3).filter(|version| !version.is_empty());
    let etag = Some(&row.etag).filter(|etag| !etag.is_empty());
    let content_type = row.content_type.as_ref().filter(|_| known);
    let metadata = row.metadata.as_ref().filter(|_| known);
    let tags = row.tags.as_ref().filter(|_| known);
    format!("{version:?} {:?} {etag:?} {content_type:?} {metadata:?} {tags:?}", row.size)
}

/// The tables as they are, in one snapshot.
///
/// # Panics
/// If they cannot be read.
pub async fn tables(database: &Database) -> Tables {
    Snapshot::read(&mut database.connect().await).await.expect("read the tables").tables
}

impl Snapshot {
    async fn read(connection: &mut PgConnection) -> sqlx::Result<Self> {
        let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let rows = sqlx::query(
            "SELECT store, bucket, key, version_id, kind, order_time, order_seq, order_class, current, versioned, size, etag,
                    desc_time, desc_seq, desc_hash, content_type, coalesce(metadata, older_metadata)::text, tags::text,
                    removed_time, removed_seq, removed_class FROM millstream.objects",
        );
        let objects = rows.fetch_all(&mut *snapshot).await?.iter().map(object).collect::<sqlx::Result<_>>()?;
        let buckets = sqlx::query(
            "SELECT store, bucket, '', sum(objects)::bigint, sum(bytes)::text, sum(unknown_size)::bigint
             FROM millstream.bucket_count GROUP BY store, bucket",
        );
        let buckets = counts(buckets.fetch_all(&mut *snapshot).await?)?;
        let segments = sqlx::query(
            "SELECT store, bucket, segment, objects, bytes::text, unknown_size FROM millstream.segment_sum",
        );
        let segments = counts(segments.fetch_all(&mut *snapshot).await?)?;
        let hours = sqlx::query(
            "SELECT store, bucket, extract(epoch FROM hour)::bigint, sum(created)::bigint, sum(removed)::bigint, sum(bytes)::text
             FROM millstream.hour_count GROUP BY store, bucket, hour",
        );
        let hours = by_hour(hours.fetch_all(&mut *snapshot).await?)?;
        let shown = sqlx::query(
            "SELECT store, bucket, key, version_id, size, etag, content_type, metadata::text, tags::text FROM analytics.objects",
        );
        let shown = shown.fetch_all(&mut *snapshot).await?.iter().map(shown_row).collect::<sqlx::Result<_>>()?;
        let shown_buckets = sqlx::query(
            "SELECT store, bucket, '', objects, bytes::text, unknown_size FROM analytics.object_counts WHERE segment IS NULL",
        );
        let shown_buckets = counts(shown_buckets.fetch_all(&mut *snapshot).await?)?;
        let shown_hours = sqlx::query(
            "SELECT store, bucket, extract(epoch FROM hour)::bigint, created, removed, bytes::text FROM analytics.uploads_hourly",
        );
        let shown_hours = by_hour(shown_hours.fetch_all(&mut *snapshot).await?)?;
        snapshot.rollback().await?;
        let bare = |counts: BTreeMap<(String, String, String), Count>| {
            counts.into_iter().map(|((store, bucket, _), count)| ((store, bucket), count)).collect()
        };
        let buckets = bare(buckets);
        let shown_buckets = bare(shown_buckets);
        let tables = Tables { objects, buckets, segments, hours };
        Ok(Snapshot { tables, shown, shown_buckets, shown_hours })
    }
}

fn object(row: &PgRow) -> sqlx::Result<(RowName, ObjectRow)> {
    let name = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let removed: (Option<i64>, Option<i64>, Option<i16>) = (row.try_get(18)?, row.try_get(19)?, row.try_get(20)?);
    let object = ObjectRow {
        kind: row.try_get(4)?,
        order: (row.try_get(5)?, row.try_get(6)?),
        order_class: row.try_get(7)?,
        current: row.try_get(8)?,
        versioned: row.try_get(9)?,
        removed: removed.0.zip(removed.1).zip(removed.2).map(|((time, number), class)| (time, number, class)),
        size: row.try_get(10)?,
        etag: row.try_get(11)?,
        described: (row.try_get(12)?, row.try_get(13)?, row.try_get(14)?),
        content_type: row.try_get(15)?,
        metadata: texts(row.try_get(16)?),
        tags: texts(row.try_get(17)?),
    };
    Ok((name, object))
}

fn shown_row(row: &PgRow) -> sqlx::Result<((String, String, String), String)> {
    let version: Option<String> = row.try_get(3)?;
    let size: Option<i64> = row.try_get(4)?;
    let etag: Option<String> = row.try_get(5)?;
    let content_type: Option<String> = row.try_get(6)?;
    let metadata = texts(row.try_get(7)?);
    let tags = texts(row.try_get(8)?);
    let text = format!("{version:?} {size:?} {etag:?} {content_type:?} {metadata:?} {tags:?}");
    Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), text))
}

fn texts(json: Option<String>) -> Option<BTreeMap<String, String>> {
    json.map(|json| serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}")))
}

fn counts(rows: Vec<PgRow>) -> sqlx::Result<BTreeMap<(String, String, String), Count>> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let bytes: String = row.try_get(4)?;
        let bytes = bytes.parse().expect("a whole number of bytes");
        let count = Count { objects: row.try_get(3)?, bytes, unknown_size: row.try_get(5)? };
        if count != Count::default() {
            counts.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), count);
        }
    }
    Ok(counts)
}

fn by_hour(rows: Vec<PgRow>) -> sqlx::Result<BTreeMap<(String, String, i64), Hour>> {
    let mut hours = BTreeMap::new();
    for row in rows {
        let bytes: String = row.try_get(5)?;
        let bytes = bytes.parse().expect("a whole number of bytes");
        let hour = Hour { created: row.try_get(3)?, removed: row.try_get(4)?, bytes };
        if hour != Hour::default() {
            hours.insert((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?), hour);
        }
    }
    Ok(hours)
}
