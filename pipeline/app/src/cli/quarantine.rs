//! `millstream quarantine`: what could not be written, and what to do with it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use millstream_connectors::sinks::tables::redrive::Redriven;
use millstream_connectors::sinks::tables::rewrite::chunk;
use millstream_postgres::Connection;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::database::{Database, Expect};
use super::screen;
use crate::config::Config;
use crate::domain;

/// Maximum number of remaining rows named one by one.
const NAMED_MAX: usize = 20;

/// What to do with the quarantine.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists quarantined rows.
    Ls {
        /// Only rows with this reason.
        #[arg(long)]
        reason: Option<String>,
        /// Only rows of this store.
        #[arg(long)]
        store: Option<String>,
        /// Maximum number of rows.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Shows one row with its original bytes, escaped for the terminal.
    Show {
        /// Number of the row, as printed by `ls`.
        id: i64,
        /// Print JSON; the payload is text if it is UTF-8, else a list of bytes.
        #[arg(long)]
        json: bool,
    },
    /// Writes whole records again, each in one transaction with its removal; order is decided as for new ones.
    Redrive {
        #[command(flatten)]
        which: Which,
        /// Do everything but commit, and print what would happen.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes rows permanently.
    Purge {
        #[command(flatten)]
        which: Which,
        /// Print the number of rows, and remove none.
        #[arg(long)]
        dry_run: bool,
    },
}

/// A selection of rows.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub struct Which {
    /// Rows with these numbers.
    #[arg(value_name = "ID", conflicts_with_all = ["reason", "store", "all"])]
    ids: Vec<i64>,
    /// Rows with this reason.
    #[arg(long, conflicts_with = "all")]
    reason: Option<String>,
    /// Rows of this store; with --reason, only those that match both.
    #[arg(long, conflicts_with = "all")]
    store: Option<String>,
    /// All rows.
    #[arg(long)]
    all: bool,
}

impl Which {
    fn ids(&self) -> Option<&[i64]> {
        (!self.ids.is_empty()).then_some(&self.ids)
    }
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let done = match command {
        Command::Ls { reason, store, limit, json } => {
            list(&mut connection, config, (reason.as_deref(), store.as_deref()), limit, json).await
        }
        Command::Show { id, json } => show(&mut connection, id, json).await,
        Command::Redrive { which, dry_run, json } => redrive(&mut connection, config, &which, dry_run, json).await,
        Command::Purge { which, dry_run } => purge(&mut connection, &which, dry_run).await,
    };
    database.close(connection).await?;
    done
}

async fn list(
    connection: &mut PgConnection,
    config: &Config,
    (reason, store): (Option<&str>, Option<&str>),
    limit: u32,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let rows = sqlx::query(include_str!("sql/quarantine_list.sql"))
        .bind(reason)
        .bind(i64::from(limit))
        .bind(store)
        .fetch_all(&mut *connection)
        .await?;
    let counts: Vec<(String, i64)> =
        sqlx::query_as(include_str!("sql/quarantine_count.sql")).bind(store).fetch_all(connection).await?;
    if json {
        let items = rows.iter().map(|row| {
            let key: Vec<u8> = row.try_get("record_key")?;
            let text = |name| row.try_get::<String, _>(name);
            Ok(json!({
                "id": row.try_get::<i64, _>("id")?, "pipeline": text("pipeline")?, "store": text("store")?,
                "partition": text("partition")?, "position": text("position")?,
                "index": row.try_get::<i32, _>("index")?, "reason": text("reason")?, "detail": text("detail")?,
                "key": String::from_utf8_lossy(&key), "payload_bytes": row.try_get::<i32, _>("payload_bytes")?,
                "quarantined_at": text("quarantined_at")?,
            }))
        });
        let items: Vec<serde_json::Value> = items.collect::<Result<_, sqlx::Error>>()?;
        let counts: BTreeMap<&str, i64> = counts.iter().map(|(reason, count)| (&**reason, *count)).collect();
        screen::print_json(&json!({ "items": items, "counts": counts }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if rows.is_empty() {
        let is_any = reason.is_none() && store.is_none();
        screen::print(if is_any { "nothing is in quarantine" } else { "nothing in quarantine matches" });
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = vec![
        ["id", "store", "partition", "position", "event", "reason", "key", "detail", "since"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for row in &rows {
        table.push(list_row(row)?);
    }
    screen::print(&screen::table(&table));
    let total: i64 = counts.iter().map(|(_, count)| count).sum();
    let by_reason: Vec<String> = counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    screen::print(&format!(
        "\n{} shown of {total}: {}\nlook:        {}\nwrite again: {}",
        rows.len(),
        screen::escape(&by_reason.join(", ")),
        config.command("quarantine show ID"),
        config.command("quarantine redrive ID"),
    ));
    Ok(ExitCode::SUCCESS)
}

fn list_row(row: &PgRow) -> Result<Vec<String>, sqlx::Error> {
    let text = |name| row.try_get::<String, _>(name).map(|text| shortened(&screen::escape(&text), 60));
    let key: Vec<u8> = row.try_get("record_key")?;
    let index: i32 = row.try_get("index")?;
    Ok(vec![
        row.try_get::<i64, _>("id")?.to_string(),
        text("store")?,
        text("partition")?,
        text("position")?,
        if index < 0 { "all".to_owned() } else { index.to_string() },
        text("reason")?,
        shortened(&screen::escape_bytes(&key), 48),
        text("detail")?,
        text("quarantined_at")?,
    ])
}

fn shortened(text: &str, characters_max: usize) -> String {
    match text.char_indices().nth(characters_max) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

async fn show(connection: &mut PgConnection, id: i64, json: bool) -> anyhow::Result<ExitCode> {
    let row = sqlx::query(include_str!("sql/quarantine_select.sql")).bind(id).fetch_optional(connection).await?;
    let row = row.with_context(|| {
        format!("there is no row {id} in quarantine: `millstream quarantine ls` lists what is there")
    })?;
    let key: Vec<u8> = row.try_get("record_key")?;
    let payload: Vec<u8> = row.try_get("payload")?;
    let headers: BTreeMap<String, String> = serde_json::from_str(row.try_get("headers")?)?;
    let names = [
        "pipeline",
        "incarnation",
        "partition",
        "position",
        "store",
        "reason",
        "detail",
        "published_at",
        "quarantined_at",
    ];
    let sqlstate: Option<String> = row.try_get("sqlstate")?;
    let index: i32 = row.try_get("index")?;
    if json {
        let mut object = serde_json::Map::from_iter([("id".to_owned(), json!(id)), ("index".to_owned(), json!(index))]);
        for name in names {
            object.insert(name.to_owned(), json!(row.try_get::<String, _>(name)?));
        }
        object.insert("sqlstate".to_owned(), json!(sqlstate));
        object.insert("key".to_owned(), json!(String::from_utf8_lossy(&key)));
        object.insert("headers".to_owned(), json!(headers));
        let payload = std::str::from_utf8(&payload).map_or_else(|_| json!(payload), |text| json!(text));
        object.insert("payload".to_owned(), payload);
        screen::print_json(&object.into())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![vec!["id".to_owned(), id.to_string()]];
    for name in names {
        lines.push(vec![name.to_owned(), screen::escape(row.try_get(name)?)]);
    }
    lines.push(vec!["event".to_owned(), if index < 0 { "all of the record".to_owned() } else { index.to_string() }]);
    lines.extend(sqlstate.map(|state| vec!["sqlstate".to_owned(), screen::escape(&state)]));
    lines.push(vec!["key".to_owned(), screen::escape_bytes(&key)]);
    lines.extend(
        headers.iter().map(|(name, value)| vec![format!("header {}", screen::escape(name)), screen::escape(value)]),
    );
    screen::print(&screen::table(&lines));
    screen::print(&format!("\npayload, {} bytes, escaped:\n{}", payload.len(), screen::escape_bytes(&payload)));
    Ok(ExitCode::SUCCESS)
}

async fn redrive(
    connection: &mut Connection,
    config: &Config,
    which: &Which,
    dry_run: bool,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let chosen: Vec<(i64, i64, String)> = sqlx::query_as(include_str!("sql/quarantine_ids.sql"))
        .bind(which.ids())
        .bind(which.reason.as_deref())
        .bind(which.store.as_deref())
        .fetch_all(&mut *connection)
        .await?;
    if chosen.is_empty() {
        bail!("no row in quarantine is meant by that: `millstream quarantine ls` lists what is there");
    }
    let mut redriven = Redriven::default();
    for of_pipeline in chosen.chunk_by(|(.., one), (.., next)| one == next) {
        let [(.., pipeline), ..] = of_pipeline else { continue };
        let mut redrive = domain::redrive(config, pipeline, dry_run);
        let rows: Vec<(i64, i64)> = of_pipeline.iter().map(|(id, bytes, _)| (*id, *bytes)).collect();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let ids = chunk(rest);
            redriven.add(redrive.run(connection, &ids).await?);
            rest = rest.get(ids.len()..).unwrap_or_default();
        }
    }
    report(&redriven, dry_run, json)?;
    Ok(if redriven.kept.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(redriven: &Redriven, dry_run: bool, json: bool) -> anyhow::Result<()> {
    let outcome = &redriven.outcome;
    if json {
        let kept = redriven
            .kept
            .iter()
            .map(|kept| json!({ "id": kept.id, "was": kept.was, "reason": kept.reason, "detail": kept.detail }));
        return screen::print_json(&json!({
            "dry_run": dry_run, "removed": redriven.removed, "written": outcome.written,
            "filtered": outcome.filtered, "kept": kept.collect::<Vec<_>>(),
        }));
    }
    let filtered: Vec<String> = outcome.filtered.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let filtered = if filtered.is_empty() { "none".to_owned() } else { filtered.join(", ") };
    let would = if dry_run { "dry run, nothing was changed; it would be: " } else { "" };
    screen::print(&format!(
        "{would}{} rows taken out of quarantine, {} stay; events of their records: {} written, filtered: {filtered}",
        redriven.removed,
        redriven.kept.len(),
        outcome.written,
    ));
    for kept in redriven.kept.iter().take(NAMED_MAX) {
        let stays = match kept.was {
            Some(was) => format!("{was} is in quarantine again, as {}", kept.id),
            None => format!("{} stays", kept.id),
        };
        let reason = screen::escape(&kept.reason);
        let detail = screen::escape(&kept.detail);
        screen::print(&format!("  {stays}: {reason}: {detail}"));
    }
    if redriven.kept.len() > NAMED_MAX {
        screen::print(&format!("  and {} more", redriven.kept.len() - NAMED_MAX));
    }
    Ok(())
}

async fn purge(connection: &mut PgConnection, which: &Which, dry_run: bool) -> anyhow::Result<ExitCode> {
    let mut transaction = connection.begin().await?;
    let purged = sqlx::query(include_str!("sql/quarantine_purge.sql"))
        .bind(which.ids())
        .bind(which.reason.as_deref())
        .bind(which.store.as_deref())
        .execute(&mut *transaction)
        .await?
        .rows_affected();
    if dry_run {
        transaction.rollback().await?;
        screen::print(&format!("dry run, nothing was changed: {purged} rows would be removed for good"));
    } else {
        transaction.commit().await?;
        screen::print(&format!("{purged} rows removed"));
    }
    Ok(ExitCode::SUCCESS)
}
