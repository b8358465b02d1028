//! `millstream why BUCKET KEY`: what became of one object.
//!
//! Its rows and its quarantined records come from the tables; its events come from the stream, through the process that
//! has it open if there is one. What counts is the object that an event names, not the key of its record.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::client::Client;
use super::database::{Database, Expect};
use super::screen;
use crate::config::{Config, Pipeline, SinkKind};
use crate::domain::objects;
use crate::stream::open_topic;
use crate::time::{utc, utc_of_order};

pub(crate) mod stream;

mod quarantine;
mod verdict;

use quarantine::Quarantined;
use stream::{Event, Scan, Wanted, scan};
use verdict::{Row, Tables, verdicts};

/// Options of `why`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Bucket of the object; `task` or `route` to look at one of these (with --store, a bucket of that name).
    bucket: String,
    /// Key of the object, as the application wrote it; the id of a task, or SERVICE/ALIAS.
    key: String,
    /// Only this store (default: every store that has the bucket).
    #[arg(long)]
    store: Option<String>,
    /// How far back to search the stream.
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = crate::config::some_time)]
    since: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The events of one pipeline's stream, or why they are unknown.
type Events = Result<(Scan, Vec<String>), String>;

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    // With a store it is an object of a bucket of this name.
    if args.store.is_none() {
        match (args.bucket.as_str(), args.key.split_once('/')) {
            ("task", _) => return super::task::why(config, &args.key, args.json).await,
            ("route", Some((service, alias))) => return super::route::why(config, service, alias, args.json).await,
            _ => {}
        }
    }
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let told = tell(&mut connection, args, config).await;
    database.close(connection).await?;
    told.map(|()| ExitCode::SUCCESS)
}

/// The pipelines whose events are about objects.
fn of_objects(config: &Config) -> impl Iterator<Item = &Pipeline> {
    config.pipeline.iter().filter(|pipeline| pipeline.sink == SinkKind::Metadata)
}

async fn tell(connection: &mut PgConnection, args: &Args, config: &Config) -> anyhow::Result<()> {
    let stores: Vec<&str> = of_objects(config).map(|pipeline| &*pipeline.store).collect();
    let rows = sqlx::query(include_str!("sql/why_objects.sql"))
        .bind(&stores)
        .bind(&args.bucket)
        .bind(&args.key)
        .bind(&args.store)
        .fetch_all(&mut *connection)
        .await?;
    let limits = objects::limits(config);
    let (quarantine, quarantine_cut) = quarantine::find(connection, &wanted(args, ""), &limits).await?;
    let mut events = Vec::new();
    for pipeline in of_objects(config) {
        let found = look(connection, args, config, pipeline, &rows, &quarantine).await;
        // Without a stream there are still the tables.
        events.push((pipeline.name.clone(), found.map_err(|error| format!("{error:#}"))));
    }
    if args.json {
        return print_json(args, &rows, &quarantine, &events);
    }
    print_rows(args, &rows)?;
    print_quarantine(config, &quarantine, quarantine_cut);
    events.iter().for_each(|(pipeline, events)| print_events(pipeline, events));
    Ok(())
}

/// The events of a pipeline's stream with their verdicts.
async fn look(
    connection: &mut PgConnection,
    args: &Args,
    config: &Config,
    pipeline: &Pipeline,
    rows: &[PgRow],
    quarantine: &[Quarantined],
) -> anyhow::Result<(Scan, Vec<String>)> {
    let scan = match Client::find(config).await? {
        Some(client) => ask(&client, args, pipeline).await?,
        None => read(args, config, pipeline)?,
    };
    let next: Vec<(String, Option<String>)> = sqlx::query_as(include_str!("sql/why_next.sql"))
        .bind(&pipeline.name)
        .bind(&scan.incarnation)
        .fetch_all(connection)
        .await?;
    let next = next.into_iter().filter_map(|(partition, next)| Some((partition.parse().ok()?, next?.parse().ok()?)));
    let mut tables = Tables { next: next.collect(), ..Tables::default() };
    for row in rows {
        let name = (row.try_get("store")?, row.try_get("version_id")?);
        let facts = (row.try_get("order_time")?, row.try_get("order_seq")?, row.try_get("kind")?, row.try_get("etag")?);
        let description = (row.try_get("desc_time")?, row.try_get("desc_seq")?);
        tables.rows.insert(name, Row { facts, description });
    }
    for row in quarantine.iter().filter(|row| row.pipeline == pipeline.name) {
        if let (Ok(partition), Ok(position)) = (row.partition.parse(), row.position.parse()) {
            tables.quarantined.insert((partition, position, i64::from(row.index)), row.reason.clone());
        }
    }
    let told = verdicts(&scan.seen, &tables);
    Ok((scan, told))
}

/// Asks the process that has the stream open.
async fn ask(client: &Client, args: &Args, pipeline: &Pipeline) -> anyhow::Result<Scan> {
    let since_seconds = args.since.as_secs().to_string();
    let mut parameters = vec![
        ("pipeline", pipeline.name.as_str()),
        ("bucket", &args.bucket),
        ("key", &args.key),
        ("since_seconds", &since_seconds),
    ];
    parameters.extend(args.store.as_deref().map(|store| ("store", store)));
    let encode = |(name, value): (&str, &str)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    let parameters: Vec<String> = parameters.into_iter().map(encode).collect();
    let answer = client.get(&format!("/v1/why?{}", parameters.join("&"))).await?;
    serde_json::from_value(answer).with_context(|| format!("read what {} answers", client.address))
}

/// Opens the stream, which no other process has open.
fn read(args: &Args, config: &Config, pipeline: &Pipeline) -> anyhow::Result<Scan> {
    let (log, topic) = open_topic(config, pipeline)?;
    let scan =
        scan(&topic, &wanted(args, &pipeline.store), config.limits.record_bytes_max).context("read the stream")?;
    drop(topic);
    log.close().context("close the stream")?;
    Ok(scan)
}

fn wanted<'a>(args: &'a Args, store_default: &'a str) -> Wanted<'a> {
    Wanted {
        bucket: &args.bucket,
        key: &args.key,
        store: args.store.as_deref(),
        store_default,
        since: args.since,
        is_wanted: &|| true,
    }
}

fn print_rows(args: &Args, rows: &[PgRow]) -> anyhow::Result<()> {
    let name = format!("{}/{}", screen::escape(&args.bucket), screen::escape(&args.key));
    if rows.is_empty() {
        screen::print(&format!("{name}: the tables have no row of it"));
        return Ok(());
    }
    screen::print(&format!("{name}, rows in the tables:"));
    let mut table =
        vec![["store", "version", "is", "size", "etag", "time", "order", "description"].map(str::to_owned).to_vec()];
    for row in rows {
        let text = |name| row.try_get::<String, _>(name).map(|text| screen::escape(&text));
        let maybe = |name| row.try_get::<Option<String>, _>(name).map(|text| text.map(|text| screen::escape(&text)));
        let description =
            [("type", maybe("content_type")?), ("metadata", maybe("metadata")?), ("tags", maybe("tags")?)];
        let mut described: Vec<String> =
            description.into_iter().filter_map(|(name, text)| Some(format!("{name} {}", text?))).collect();
        if !described.is_empty() && !is_described(row)? {
            described.push("(older than the object, so not shown with it)".to_owned());
        }
        let kind: i16 = row.try_get("kind")?;
        let order_time: i64 = row.try_get("order_time")?;
        table.push(vec![
            text("store")?,
            Some(text("version_id")?).filter(|version| !version.is_empty()).unwrap_or_else(|| "-".to_owned()),
            state(kind, row.try_get("current")?).to_owned(),
            row.try_get::<Option<i64>, _>("size")?.map_or_else(|| "-".to_owned(), |size| size.to_string()),
            text("etag")?,
            utc_of_order(order_time).filter(|_| kind != 0).unwrap_or_else(|| "-".to_owned()),
            class(row.try_get("order_class")?).to_owned(),
            described.join(" "),
        ]);
    }
    screen::print(&screen::table(&table));
    Ok(())
}

/// Whether the description is of this object, and not of one that it replaced.
fn is_described(row: &PgRow) -> Result<bool, sqlx::Error> {
    let description: (i64, i64) = (row.try_get("desc_time")?, row.try_get("desc_seq")?);
    Ok(description >= (row.try_get("order_time")?, row.try_get("order_seq")?))
}

/// The newest removal of the whole key, which the row without a version keeps.
fn removed(row: &PgRow) -> Result<Option<(i64, i64)>, sqlx::Error> {
    let time: Option<i64> = row.try_get("removed_time")?;
    let seq: Option<i64> = row.try_get("removed_seq")?;
    Ok(time.zip(seq))
}

fn state(kind: i16, current: bool) -> &'static str {
    match (kind, current) {
        (1, true) => "current",
        (1, false) => "an older version",
        (2, _) => "a delete marker",
        (3, _) => "deleted",
        _ => "no facts yet",
    }
}

fn class(class: i16) -> &'static str {
    match class {
        3 => "strong",
        2 => "clock",
        1 => "weak",
        _ => "undated",
    }
}

fn print_quarantine(config: &Config, quarantine: &[Quarantined], is_cut: bool) {
    if is_cut {
        let ls = config.command("quarantine ls");
        screen::print(&format!("the quarantine has more rows than are looked through; `{ls}` lists them"));
    }
    if quarantine.is_empty() {
        return screen::print("nothing of it is in quarantine");
    }
    screen::print("in quarantine:");
    let mut table = vec![["id", "partition", "position", "event", "reason", "detail"].map(str::to_owned).to_vec()];
    table.extend(quarantine.iter().map(|row| {
        let event = if row.index < 0 { "all".to_owned() } else { row.index.to_string() };
        let text = screen::escape;
        vec![row.id.to_string(), text(&row.partition), text(&row.position), event, text(&row.reason), text(&row.detail)]
    }));
    screen::print(&screen::table(&table));
}

fn print_events(pipeline: &str, events: &Events) {
    let (scan, told) = match events {
        Ok(found) => found,
        Err(why) => {
            return screen::print(&format!("\nits events in the stream of pipeline {pipeline} are not told: {why}"));
        }
    };
    let since = screen::seconds(scan.since_seconds as f64);
    let before = if scan.starts_later { "; there are earlier records, see --since" } else { ", which is all there is" };
    let range = format!("{} partitions, the last {since}{before}", scan.ranges.len());
    if scan.cut {
        screen::print("\ntime was up before the end of the stream: choose a shorter --since");
    }
    for unreadable in &scan.unreadable {
        screen::print(&format!("\nnot read to the end: {}", screen::escape(unreadable)));
    }
    if scan.seen.is_empty() {
        return screen::print(&format!("\nno events of it in the stream of pipeline {pipeline} ({range})"));
    }
    screen::print(&format!("\nits events in the stream of pipeline {pipeline} ({range}):"));
    let heads = ["partition", "position", "stored", "event", "version", "time", "what became of it"];
    let mut table = vec![heads.map(str::to_owned).to_vec()];
    for (one, verdict) in scan.seen.iter().zip(told) {
        let (event, version, time) = match &one.event {
            Event::Fact(fact) => (effect(fact.kind), screen::escape(&fact.version_id), time(fact.order_time)),
            Event::Filtered { .. } => ("other", String::new(), String::new()),
            Event::Refused { .. } => ("refused", String::new(), String::new()),
        };
        table.push(vec![
            one.partition.to_string(),
            one.position.to_string(),
            utc(one.stored_at_ms),
            event.to_owned(),
            version,
            time,
            screen::escape(verdict),
        ]);
    }
    screen::print(&screen::table(&table));
    if scan.more > 0 {
        screen::print(&format!("and {} earlier ones", scan.more));
    }
}

fn effect(kind: i16) -> &'static str {
    match kind {
        1 => "created",
        2 => "delete marker",
        3 => "deleted",
        4 => "key removed",
        _ => "described",
    }
}

/// The object's own time for people.
fn time(order_time: i64) -> String {
    utc_of_order(order_time).unwrap_or_else(|| "-".to_owned())
}

fn print_json(
    args: &Args,
    rows: &[PgRow],
    quarantine: &[Quarantined],
    events: &[(String, Events)],
) -> anyhow::Result<()> {
    let parsed = |text: Option<String>| text.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let row = |row: &PgRow| -> Result<serde_json::Value, sqlx::Error> {
        let kind: i16 = row.try_get("kind")?;
        let order_time: i64 = row.try_get("order_time")?;
        Ok(json!({
            "store": row.try_get::<String, _>("store")?, "version_id": row.try_get::<String, _>("version_id")?,
            "state": state(kind, row.try_get("current")?), "current": row.try_get::<bool, _>("current")?,
            "size": row.try_get::<Option<i64>, _>("size")?, "etag": row.try_get::<String, _>("etag")?,
            "time": utc_of_order(order_time), "order_class": class(row.try_get("order_class")?),
            "content_type": row.try_get::<Option<String>, _>("content_type")?,
            "metadata": parsed(row.try_get("metadata")?), "tags": parsed(row.try_get("tags")?),
            "description_is_older": !is_described(row)?,
            "key_removed_at": removed(row)?.and_then(|(time, _)| utc_of_order(time)),
        }))
    };
    let quarantined = |row: &Quarantined| {
        json!({
            "id": row.id, "pipeline": row.pipeline, "partition": row.partition, "position": row.position,
            "index": row.index, "reason": row.reason, "detail": row.detail,
        })
    };
    let streams: BTreeMap<&str, serde_json::Value> = events
        .iter()
        .map(|(pipeline, events)| {
            let value = match events {
                Ok((scan, verdicts)) => json!({ "scan": scan, "verdicts": verdicts }),
                Err(why) => json!({ "not_told": why }),
            };
            (&**pipeline, value)
        })
        .collect();
    screen::print_json(&json!({
        "bucket": args.bucket, "key": args.key,
        "rows": rows.iter().map(row).collect::<Result<Vec<_>, _>>()?,
        "quarantine": quarantine.iter().map(quarantined).collect::<Vec<_>>(),
        "streams": streams,
    }))
}
