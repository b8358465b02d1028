//! `millstream stream set-aside`: goes on after records that cannot be read.
//!
//! Before the stream is changed, the loss is recorded for every pipeline that reads the topic, and a pipeline that
//! stands in the range is moved behind it. A crash in between leaves the damage as it was, to be set aside again.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;
use sqlx::{Connection as _, PgConnection, Row as _};

use super::{by_topic, named};
use crate::cli::database::{Database, Expect};
use crate::cli::screen;
use crate::config::{Config, Pipeline};
use crate::http::damage::Damaged;
use crate::stream::Visit;

/// Options of `stream set-aside`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pipeline that reads the topic; optional if there is only one topic.
    #[arg(long)]
    pipeline: Option<String>,
    /// Damaged partition.
    #[arg(long)]
    partition: u32,
    /// Offset of the first damaged record, as printed by `millstream stream check`; optional if the partition is
    /// damaged in one place only.
    #[arg(long, value_name = "OFFSET")]
    from: Option<u64>,
    /// Give up even records that are not yet in the tables of every pipeline.
    #[arg(long)]
    yes: bool,
    /// Print what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How a pipeline is affected by the damaged range.
#[derive(Debug)]
struct Reader<'c> {
    pipeline: &'c Pipeline,
    /// Its next position.
    next: u64,
}

impl Reader<'_> {
    /// Damaged records that it has not read.
    fn loses(&self, damage: &Damaged) -> u64 {
        damage.to.saturating_sub(self.next.max(damage.from))
    }

    /// Whether it stands in the range, and is moved behind it. A pipeline before the range reads on up to it.
    fn moves(&self, damage: &Damaged) -> bool {
        (damage.from..damage.to).contains(&self.next)
    }

    fn effect(&self, config: &Config, damage: &Damaged, partition: u32) -> String {
        let name = &self.pipeline.name;
        let next = self.next;
        let lost = self.loses(damage);
        if lost == 0 {
            return format!("pipeline {name} has read all of them: nothing is lost");
        }
        if self.moves(damage) {
            return format!(
                "pipeline {name} is at {next}: {lost} records are never written, it goes on at {}",
                damage.to
            );
        }
        let from = damage.from;
        let to = damage.to;
        let go_on = config.command(&format!("positions reset --pipeline {name} --partition {partition} --to {to}"));
        format!(
            "pipeline {name} is at {next}: {lost} records will never be written; it reads up to {from} and halts there until `{go_on}`"
        )
    }
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    let pipeline = match (&args.pipeline, by_topic(config).as_slice()) {
        (Some(name), _) => named(config, name)?,
        (None, [only]) => only,
        (None, _) => bail!("there are several topics: name a pipeline that reads the damaged one, with --pipeline"),
    };
    let visit = Visit::open(config, pipeline).await?;
    let done = find_and_set_aside(args, config, pipeline, &visit).await;
    visit.close()?;
    done
}

async fn find_and_set_aside(
    args: &Args,
    config: &Config,
    pipeline: &Pipeline,
    visit: &Visit,
) -> anyhow::Result<ExitCode> {
    let partitions = visit.partitions().await?;
    if args.partition >= partitions {
        bail!("topic {} has partitions 0 to {}", pipeline.topic(), partitions.saturating_sub(1));
    }
    let damage = choose(args, pipeline.topic(), visit.damages(args.partition).await?)?;
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let done = decide(args, config, pipeline, visit, &damage, &mut connection).await;
    database.close(connection).await?;
    done
}

fn choose(args: &Args, topic: &str, damages: Vec<Damaged>) -> anyhow::Result<Damaged> {
    let listed = damages.iter().map(|damage| format!("--from {}: {}", damage.from, damage.text)).collect::<Vec<_>>();
    let count = damages.len();
    let mut meant = damages.into_iter().filter(|damage| args.from.is_none_or(|from| from == damage.from));
    match (meant.next(), meant.next()) {
        (Some(damage), None) => Ok(damage),
        (None, _) if count == 0 => {
            bail!("partition {} of topic {topic} has no damage: nothing to set aside", args.partition)
        }
        _ => bail!("say which damage is meant:\n{}", screen::escape(&listed.join("; "))),
    }
}

async fn decide(
    args: &Args,
    config: &Config,
    pipeline: &Pipeline,
    visit: &Visit,
    damage: &Damaged,
    connection: &mut PgConnection,
) -> anyhow::Result<ExitCode> {
    let mut readers = Vec::new();
    for reader in config.pipeline.iter().filter(|one| one.reads_stream() && one.topic() == pipeline.topic()) {
        let next = stored(connection, &reader.name, visit.incarnation(), args.partition).await?;
        readers.push(Reader { pipeline: reader, next });
    }
    let lost = readers.iter().map(|reader| reader.loses(damage)).max().unwrap_or_default();
    let refused = lost > 0 && !args.yes && !args.dry_run;
    if !args.dry_run && !refused {
        put_on_record(connection, visit, damage, &readers).await?;
        visit.set_aside(args.partition, damage.from).await.with_context(|| {
            format!(
                "the loss of {} to {} is on record, but the stream still has it as damage: run this again",
                damage.from, damage.to
            )
        })?;
    }
    if args.json {
        let readers = readers.iter().map(|reader| {
            json!({ "pipeline": reader.pipeline.name, "next_position": reader.next, "loses_records": reader.loses(damage) })
        });
        let done = !args.dry_run && !refused;
        screen::print_json(&json!({ "set_aside": done, "damage": damage, "pipelines": readers.collect::<Vec<_>>() }))?;
    } else {
        screen::print(&screen::escape(&damage.text));
        for reader in &readers {
            screen::print(&reader.effect(config, damage, args.partition));
        }
        if args.dry_run {
            screen::print("dry run, nothing was changed");
        } else if !refused {
            let from = damage.from;
            let last = damage.to.saturating_sub(1);
            screen::print(&format!(
                "offsets {from} to {last} are set aside and on record as a gap; the file stays where it is"
            ));
        }
    }
    if refused {
        screen::complain(&format!(
            "nothing was changed: {lost} records are not in the tables yet. Restore the file if there is a copy; to give them up, run this again with --yes"
        ));
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The next position of a pipeline in a partition; the beginning if it has read nothing.
async fn stored(
    connection: &mut PgConnection,
    pipeline: &str,
    incarnation: &str,
    partition: u32,
) -> anyhow::Result<u64> {
    let rows = sqlx::query(include_str!("../sql/lease_list.sql")).bind(pipeline).fetch_all(connection).await?;
    let partition = partition.to_string();
    for row in &rows {
        let text = |name| row.try_get::<String, _>(name);
        if text("incarnation")? == incarnation && text("partition")? == partition {
            let next: Option<String> = row.try_get("next_position")?;
            return next.map_or(Ok(0), |next| {
                next.parse().with_context(|| format!("the stored position {next} is no offset"))
            });
        }
    }
    Ok(0)
}

async fn put_on_record(
    connection: &mut PgConnection,
    visit: &Visit,
    damage: &Damaged,
    readers: &[Reader<'_>],
) -> anyhow::Result<()> {
    let partition = damage.partition.to_string();
    let era = visit.era(damage.partition, damage.to).await?;
    let mut transaction = connection.begin().await?;
    for reader in readers {
        let lost = if reader.loses(damage) > 0 { "given up" } else { "already in the tables" };
        sqlx::query(include_str!("../sql/gap_set_aside.sql"))
            .bind(&reader.pipeline.name)
            .bind(visit.incarnation())
            .bind(&partition)
            .bind(damage.from.to_string())
            .bind(damage.to.to_string())
            .bind(format!("set aside, {lost}: {}", damage.text))
            .execute(&mut *transaction)
            .await?;
        if reader.moves(damage) {
            sqlx::query(include_str!("../sql/position_reset.sql"))
                .bind(&reader.pipeline.name)
                .bind(visit.incarnation())
                .bind(vec![partition.clone()])
                .bind(vec![damage.to.to_string()])
                .bind(vec![era])
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}
