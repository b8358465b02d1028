//! The number of objects: from the counters that the writing transactions keep, if these can answer, else counted.

use axum::Json;
use axum::extract::{Extension, State};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row as _};

use super::cursor::Cursor;
use super::filter::{Filter, Parameters, no_nul, prefix_end};
use super::list::List;
use crate::http::access::Access;
use crate::http::asked::{Asked, Named};
use crate::http::problem::Problem;
use crate::http::query;
use crate::http::shared::Shared;

/// Maximum number of buckets in an answer.
const BUCKETS_MAX: i64 = 1000;

/// A count, and where it comes from.
#[derive(Debug, Serialize)]
pub(super) struct Count {
    objects: i64,
    /// The sum of the known sizes.
    bytes: Option<Box<RawValue>>,
    /// How many objects have no known size.
    unknown_size: i64,
    from: From,
}

/// Both are exact; only their cost differs.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum From {
    Counters,
    Index,
}

/// A bucket with its counters.
#[derive(Debug, Serialize)]
pub(super) struct Bucket {
    store: String,
    bucket: String,
    objects: i64,
    bytes: Option<Box<RawValue>>,
    unknown_size: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Buckets {
    store: Option<String>,
    cursor: Option<String>,
}

/// Counts objects of a bucket.
pub(super) async fn count(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named(bucket): Named<String>,
    Asked(mut parameters): Asked<Parameters>,
) -> Result<Json<Count>, Problem> {
    if parameters.versions || parameters.limit.is_some() || parameters.cursor.is_some() {
        return Err(Problem::bad_request(
            "versions, limit and cursor belong to a list: a count is of current objects, of all of them",
        ));
    }
    let filter = Filter::new(&mut parameters, bucket, &access, app.store())?;
    let counted = match from_counters(&app.node.pool, &filter).await {
        Ok(None) => from_index(&app.node.pool, &filter).await,
        Ok(Some(count)) => Ok(count),
        Err(error) => Err(error),
    };
    counted.map(Json).map_err(|error| query::failed(&error))
}

impl Count {
    fn read(row: &PgRow, from: From) -> Result<Self, sqlx::Error> {
        let objects = row.try_get(0)?;
        let bytes = query::number(row.try_get(1)?);
        let unknown_size = row.try_get(2)?;
        Ok(Count { objects, bytes, unknown_size, from })
    }
}

/// The whole bucket and single first segments are counted as they are written, unless a bucket has too many segments.
async fn from_counters(pool: &PgPool, filter: &Filter) -> Result<Option<Count>, sqlx::Error> {
    let is_segment = filter.prefix.find('/').is_some_and(|slash| slash + 1 == filter.prefix.len());
    if !filter.is_everything() || !(filter.prefix.is_empty() || is_segment) {
        return Ok(None);
    }
    let mut transaction = query::begin(pool, query::TIMEOUT).await?;
    if filter.prefix.is_empty() {
        let select = sqlx::query(include_str!("sql/bucket_count_select.sql")).persistent(false);
        let row = select.bind(&filter.store).bind(&filter.bucket).fetch_one(&mut *transaction).await?;
        return Count::read(&row, From::Counters).map(Some);
    }
    let select = sqlx::query(include_str!("sql/segment_count_select.sql")).persistent(false);
    let select = select.bind(&filter.store).bind(&filter.bucket).bind(&filter.prefix);
    let row = select.fetch_one(&mut *transaction).await?;
    let is_counted: bool = row.try_get(3)?;
    if is_counted { Count::read(&row, From::Counters).map(Some) } else { Ok(None) }
}

async fn from_index(pool: &PgPool, filter: &Filter) -> Result<Count, sqlx::Error> {
    let mut transaction = query::begin(pool, query::TIMEOUT).await?;
    let select = sqlx::query(include_str!("sql/objects_count.sql"))
        .persistent(false)
        .bind(&filter.store)
        .bind(&filter.bucket)
        .bind(&filter.prefix)
        .bind(filter.prefix_end.as_deref())
        .bind(filter.metadata.as_deref())
        .bind(filter.size_min)
        .bind(filter.size_max)
        .bind(filter.modified_after.as_deref())
        .bind(filter.modified_before.as_deref());
    Count::read(&select.fetch_one(&mut *transaction).await?, From::Index)
}

/// Lists buckets with their counters.
pub(super) async fn buckets(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Asked(parameters): Asked<Buckets>,
) -> Result<Json<List<Bucket>>, Problem> {
    let store = access.store(parameters.store)?;
    no_nul("store", store.as_deref().unwrap_or_default())?;
    let after = parameters.cursor.as_deref().map(Cursor::read).transpose()?;
    let (after_store, after_bucket) = after.map(|after| (after.store, after.bucket)).unwrap_or_default();
    let bucket = access.scope.bucket.as_deref();
    let prefix = access.scope.prefix.as_deref();
    let prefix_end = prefix.and_then(prefix_end);
    let select = async {
        let mut transaction = query::begin(&app.node.pool, query::TIMEOUT).await?;
        // The counters of a bucket cover more than its prefix.
        let sql = if prefix.is_some() {
            include_str!("sql/buckets_prefix_select.sql")
        } else {
            include_str!("sql/buckets_select.sql")
        };
        let select = sqlx::query(sql).persistent(false).bind(&store).bind(&after_store).bind(&after_bucket);
        let mut select = select.bind(BUCKETS_MAX + 1).bind(bucket);
        if let Some(prefix) = prefix {
            select = select.bind(prefix).bind(&prefix_end);
        }
        let rows = select.fetch_all(&mut *transaction).await?;
        let read = |row: &PgRow| {
            let store = row.try_get(0)?;
            let bucket = row.try_get(1)?;
            let objects = row.try_get(2)?;
            Ok(Bucket { store, bucket, objects, bytes: query::number(row.try_get(3)?), unknown_size: row.try_get(4)? })
        };
        rows.iter().map(read).collect()
    };
    let found: Result<Vec<Bucket>, sqlx::Error> = select.await;
    let mut items = found.map_err(|error| query::failed(&error))?;
    let more = items.len() as i64 > BUCKETS_MAX;
    items.truncate(usize::try_from(BUCKETS_MAX).unwrap_or(usize::MAX));
    let cursor = |last: &Bucket| {
        let store = last.store.clone();
        let bucket = last.bucket.clone();
        Cursor { store, bucket, key: String::new(), version_id: String::new() }.write()
    };
    let next = if more { items.last().and_then(cursor) } else { None };
    Ok(Json(List { items, next }))
}
