//! What was: the generations of an alias, which gateway served which of them, and the gateways themselves.

use axum::Json;
use axum::extract::State;
use millstream_schemas::tasks::{Fact, Key, Kind};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::super::asked::{Asked, Named};
use super::super::problem::Problem;
use super::super::query::{self, TIMEOUT};
use super::super::shared::Shared;
use super::ask::{self, Whole};

/// Generations in one answer.
const GENERATIONS_MAX: i64 = 200;

/// Parameters of `who`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhoAsked {
    at: String,
}

/// The fact of a key, as it is stored.
pub(super) async fn stored(app: &Shared, key: &Key) -> Result<Option<Fact>, Problem> {
    let statement = match key.kind {
        Kind::Deploy => include_str!("../sql/deploy_one.sql"),
        _ => include_str!("../sql/alias_one.sql"),
    };
    let row = rows(app, statement, key.columns.clone()).await?;
    let text: Option<String> =
        row.first().map(|row| row.try_get(0)).transpose().map_err(|error| query::failed(&error))?;
    let read = text.map(|text| Fact::read(key.kind, &text)).transpose();
    read.map_err(|error| Problem::unavailable("database", "the tables are of another version", error.to_string()))
}

/// What each live gateway serves of an alias.
pub(super) async fn serving(app: &Shared, service: &str, alias: &str) -> Result<Vec<Value>, Problem> {
    let parameters = vec![service.to_owned(), alias.to_owned()];
    documents(&rows(app, include_str!("../sql/route_gateways.sql"), parameters).await?)
}

pub(super) async fn history(
    State(app): State<Shared>,
    _: Whole,
    Named((service, alias)): Named<(String, String)>,
) -> Result<Json<Value>, Problem> {
    ask::names(&service, &alias)?;
    let parameters = vec![service, alias, GENERATIONS_MAX.to_string()];
    let items = documents(&rows(&app, include_str!("../sql/route_history.sql"), parameters).await?)?;
    Ok(Json(json!({ "items": items })))
}

/// What an alias meant at a time, and what each gateway served then.
pub(super) async fn who(
    State(app): State<Shared>,
    _: Whole,
    Named((service, alias)): Named<(String, String)>,
    Asked(asked): Asked<WhoAsked>,
) -> Result<Json<Value>, Problem> {
    ask::names(&service, &alias)?;
    // PostgreSQL knows words such as `yesterday`, too.
    if !asked.at.starts_with(|first: char| first.is_ascii_digit()) {
        return Err(Problem::bad_request("at: a time such as 2026-12-01T12:03:10Z"));
    }
    let parameters = vec![service, alias, asked.at];
    let route = documents(&rows(&app, include_str!("../sql/route_at.sql"), parameters.clone()).await?)?;
    let gateways = documents(&rows(&app, include_str!("../sql/route_gateways_at.sql"), parameters).await?)?;
    Ok(Json(json!({ "route": route.into_iter().next(), "gateways": gateways })))
}

pub(super) async fn gateways(State(app): State<Shared>, _: Whole) -> Result<Json<Value>, Problem> {
    let items = documents(&rows(&app, include_str!("../sql/gateways.sql"), Vec::new()).await?)?;
    Ok(Json(json!({ "items": items })))
}

async fn rows(app: &Shared, statement: &'static str, parameters: Vec<String>) -> Result<Vec<PgRow>, Problem> {
    let mut transaction = query::begin(&app.node.pool, TIMEOUT).await.map_err(|error| query::failed(&error))?;
    let mut asked = sqlx::query(statement).persistent(false);
    for parameter in parameters {
        asked = asked.bind(parameter);
    }
    let rows = asked.fetch_all(&mut *transaction).await.map_err(|error| query::failed(&error))?;
    transaction.rollback().await.map_err(|error| query::failed(&error))?;
    Ok(rows)
}

fn documents(rows: &[PgRow]) -> Result<Vec<Value>, Problem> {
    let mut documents = Vec::with_capacity(rows.len());
    for row in rows {
        let text: String = row.try_get(0).map_err(|error| query::failed(&error))?;
        documents.push(serde_json::from_str(&text).unwrap_or_default());
    }
    Ok(documents)
}
