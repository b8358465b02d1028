//! Objects: one, a list, a search.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query as Statement;
use sqlx::{PgConnection, Postgres, Row as _};

use super::cursor::Cursor;
use super::filter::{Filter, Parameters, no_nul};
use crate::http::access::Access;
use crate::http::asked::{Asked, Named};
use crate::http::problem::{Problem, shortened};
use crate::http::query;
use crate::http::shared::{App, Shared};
use crate::tokens::{Duty, Thing};

const LIMIT_DEFAULT: i64 = 100;
/// Maximum number of objects in a list: one may have 128 KiB of metadata and tags; usual ones have less than one.
const LIMIT_MAX: i64 = 1000;
/// A list also ends at this size, so that the largest answer stays small beside the memory for bodies.
const ITEM_BYTES_MAX: usize = 8 << 20;
/// How long a search may use the index of metadata before it walks along the keys instead: a value so common that this
/// time is too short is soon met on the way.
const SEARCH_TIMEOUT: Duration = Duration::from_millis(1500);

/// Some of the objects, and where the others begin.
#[derive(Debug, Serialize)]
pub(super) struct List<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// An object, or one of its versions.
#[derive(Debug, Serialize)]
pub(super) struct Object {
    store: String,
    bucket: String,
    key: String,
    version_id: Option<String>,
    size: Option<i64>,
    etag: Option<String>,
    content_type: Option<String>,
    metadata: Option<Box<RawValue>>,
    tags: Option<Box<RawValue>>,
    /// `None` if no event gave a time.
    modified_at: Option<String>,
    order_class: &'static str,
    current: bool,
    delete_marker: bool,
}

/// The parameters of one object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct One {
    store: Option<String>,
    version_id: Option<String>,
}

impl Object {
    fn read(row: &PgRow, store: &str, bucket: &str) -> Result<Self, sqlx::Error> {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let json = |text: Option<String>| text.and_then(|text| RawValue::from_string(text).ok());
        let kind: i16 = row.try_get(4)?;
        let order_class: i16 = row.try_get(6)?;
        Ok(Object {
            store: store.to_owned(),
            bucket: bucket.to_owned(),
            key: row.try_get(0)?,
            version_id: some(row.try_get(1)?),
            size: row.try_get(2)?,
            etag: some(row.try_get(3)?),
            current: row.try_get(5)?,
            order_class: match order_class {
                3 => "strong",
                2 => "clock",
                1 => "weak",
                _ => "undated",
            },
            modified_at: row.try_get(7)?,
            content_type: row.try_get(8)?,
            metadata: json(row.try_get(9)?),
            tags: json(row.try_get(10)?),
            delete_marker: kind == 2,
        })
    }

    fn bytes(&self) -> usize {
        let json = |value: &Option<Box<RawValue>>| value.as_ref().map_or(0, |value| value.get().len());
        self.key.len() + json(&self.metadata) + json(&self.tags)
    }
}

/// A list or search.
pub(super) async fn list(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named(bucket): Named<String>,
    Asked(mut parameters): Asked<Parameters>,
) -> Result<Json<List<Object>>, Problem> {
    let filter = Filter::new(&mut parameters, bucket, &access, app.store())?;
    let limit = parameters.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit: from 1 to {LIMIT_MAX}")));
    }
    let after = parameters.cursor.as_deref().map(Cursor::read).transpose()?;
    if after.as_ref().is_some_and(|after| after.store != filter.store || after.bucket != filter.bucket) {
        return Err(Problem::bad_request("cursor: it is of another store or bucket"));
    }

    let page = find(&app, &filter, after.as_ref(), parameters.versions, limit).await;
    let Page { items, more } = page.map_err(|error| query::failed(&error))?;
    let next = items.last().filter(|_| more).and_then(|last| {
        let version_id = last.version_id.clone().unwrap_or_default();
        let store = filter.store.clone();
        let bucket = filter.bucket.clone();
        Cursor { store, bucket, key: last.key.clone(), version_id }.write()
    });
    Ok(Json(List { items, next }))
}

/// What fits into an answer, and whether there is more.
struct Page {
    items: Vec<Object>,
    more: bool,
}

/// Searches along the keys, or, for metadata, first by its index.
async fn find(
    app: &App,
    filter: &Filter,
    after: Option<&Cursor>,
    versions: bool,
    limit: i64,
) -> Result<Page, sqlx::Error> {
    if filter.metadata.is_some() {
        let mut transaction = query::begin(&app.node.pool, SEARCH_TIMEOUT).await?;
        let search = bind(include_str!("sql/objects_search.sql"), filter, after, versions, limit);
        match page(search, &mut transaction, filter, limit).await {
            Err(error) if query::took_too_long(&error) => transaction.rollback().await?,
            found => return found,
        }
    }
    let mut transaction = query::begin(&app.node.pool, query::TIMEOUT).await?;
    if filter.metadata.is_some() {
        // Only the walk along the keys is left, and the planner must not choose the other way again.
        sqlx::raw_sql("SET LOCAL enable_bitmapscan = off").execute(&mut *transaction).await?;
    }
    let select = bind(include_str!("sql/objects_select.sql"), filter, after, versions, limit);
    page(select, &mut transaction, filter, limit).await
}

/// Reads rows as they come, as many as fit.
async fn page(
    select: Statement<'_, Postgres, PgArguments>,
    connection: &mut PgConnection,
    filter: &Filter,
    limit: i64,
) -> Result<Page, sqlx::Error> {
    let mut rows = select.fetch(connection);
    let mut items = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.try_next().await? {
        let object = Object::read(&row, &filter.store, &filter.bucket)?;
        bytes += object.bytes();
        if items.len() as i64 == limit || (bytes > ITEM_BYTES_MAX && !items.is_empty()) {
            return Ok(Page { items, more: true });
        }
        items.push(object);
    }
    Ok(Page { items, more: false })
}

fn bind<'a>(
    sql: &'static str,
    filter: &'a Filter,
    after: Option<&'a Cursor>,
    versions: bool,
    limit: i64,
) -> Statement<'a, Postgres, PgArguments> {
    // Planned anew each time: the best plan depends on the values.
    sqlx::query(sql)
        .persistent(false)
        .bind(&filter.store)
        .bind(&filter.bucket)
        .bind(&filter.prefix)
        .bind(filter.prefix_end.as_deref())
        .bind(after.map(|after| after.key.as_str()))
        .bind(after.map_or("", |after| after.version_id.as_str()))
        .bind(filter.metadata.as_deref())
        .bind(filter.size_min)
        .bind(filter.size_max)
        .bind(filter.modified_after.as_deref())
        .bind(filter.modified_before.as_deref())
        .bind(versions)
        // One more than requested shows whether there are more.
        .bind(limit + 1)
}

/// One object, or one of its versions.
pub(super) async fn one(
    State(app): State<Shared>,
    Extension(access): Extension<Access>,
    Named((bucket, key)): Named<(String, String)>,
    Asked(parameters): Asked<One>,
) -> Result<Json<Object>, Problem> {
    let store = access.store(parameters.store)?.unwrap_or_else(|| app.store().to_owned());
    access.check(Duty::Read, Thing::Keys(&store, &bucket, &key))?;
    let version_id = parameters.version_id;
    no_nul("bucket", &bucket)?;
    no_nul("key", &key)?;
    no_nul("version_id", version_id.as_deref().unwrap_or_default())?;
    let select = async {
        let mut transaction = query::begin(&app.node.pool, query::TIMEOUT).await?;
        let select = sqlx::query(include_str!("sql/object_select.sql")).persistent(false);
        let select = select.bind(&store).bind(&bucket).bind(&key).bind(version_id.as_deref());
        let row = select.fetch_optional(&mut *transaction).await?;
        row.map(|row| Object::read(&row, &store, &bucket)).transpose()
    };
    let found: Result<Option<Object>, sqlx::Error> = select.await;
    found.map_err(|error| query::failed(&error))?.map(Json).ok_or_else(|| {
        let version = version_id.map(|version| format!(", version {:?}", shortened(&version))).unwrap_or_default();
        let detail = format!(
            "store {store}, bucket {:?}, key {:?}{version}: not there, or deleted; a key is percent-encoded once, `/` may stay; `millstream why` tells what happened to it",
            shortened(&bucket),
            shortened(&key)
        );
        Problem::new(StatusCode::NOT_FOUND, "no-object", "no such object", detail)
    })
}
