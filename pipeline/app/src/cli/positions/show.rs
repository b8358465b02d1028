//! `millstream positions show`: the stored positions, halts, and ranges that were never read.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use millstream_engine::goes_on_at;
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::screen;
use crate::config::Config;

/// Prints them, of one pipeline or of all.
pub(super) async fn show(
    connection: &mut PgConnection,
    config: &Config,
    pipeline: Option<&str>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let leases = sqlx::query(include_str!("../sql/lease_list.sql")).bind(pipeline).fetch_all(&mut *connection).await?;
    let gaps = sqlx::query(include_str!("../sql/gap_list.sql")).bind(pipeline).fetch_all(connection).await?;
    let leases: Vec<Lease> = leases.iter().map(Lease::read).collect::<Result<_, _>>()?;
    let gap = |row: &PgRow| -> Result<Vec<String>, sqlx::Error> {
        ["pipeline", "partition", "from_position", "to_position", "reason", "found_at"]
            .iter()
            .map(|name| row.try_get(*name))
            .collect()
    };
    let gaps: Vec<Vec<String>> = gaps.iter().map(gap).collect::<Result<_, _>>()?;
    if json {
        let names = ["pipeline", "partition", "from", "to", "reason", "found_at"];
        let gaps: Vec<BTreeMap<&str, &String>> = gaps.iter().map(|gap| names.into_iter().zip(gap).collect()).collect();
        let positions: Vec<_> = leases.iter().map(Lease::json).collect();
        screen::print_json(&json!({ "positions": positions, "gaps": gaps }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if leases.is_empty() {
        screen::print("no pipeline has read anything yet");
        return Ok(ExitCode::SUCCESS);
    }
    let titles = ["pipeline", "partition", "next position", "epoch", "owner", "last commit", "stream"];
    let rows = std::iter::once(titles.map(str::to_owned).to_vec()).chain(leases.iter().map(Lease::row));
    screen::print(&screen::table(&rows.collect::<Vec<_>>()));
    if !gaps.is_empty() {
        let titles = ["pipeline", "partition", "from", "to", "why", "found"].map(str::to_owned).to_vec();
        let shown = gaps.iter().map(|gap| gap.iter().map(|text| screen::escape(text)).collect());
        let rows: Vec<Vec<String>> = std::iter::once(titles).chain(shown).collect();
        screen::print(&format!("\nnever read:\n{}", screen::table(&rows)));
    }
    let halted: Vec<&Lease> = leases.iter().filter(|lease| lease.halt_reason.is_some()).collect();
    if !halted.is_empty() {
        let lines: Vec<String> = halted.iter().filter_map(|lease| lease.halt(config)).collect();
        let commands: BTreeSet<String> = halted.iter().filter_map(|lease| lease.decision(config)).collect();
        let commands: Vec<String> = commands.into_iter().collect();
        screen::print(&format!(
            "\nhalted until you decide:\n{}\nto go on with what is left:\n{}",
            lines.join("\n"),
            commands.join("\n"),
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A lease row.
#[derive(Debug)]
struct Lease {
    pipeline: String,
    incarnation: String,
    partition: String,
    owner: String,
    epoch: i64,
    next_position: Option<String>,
    age_seconds: f64,
    halt_reason: Option<String>,
    halted_seconds: Option<f64>,
}

impl Lease {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Lease {
            pipeline: row.try_get("pipeline")?,
            incarnation: row.try_get("incarnation")?,
            partition: row.try_get("partition")?,
            owner: row.try_get("owner")?,
            epoch: row.try_get("epoch")?,
            next_position: row.try_get("next_position")?,
            age_seconds: row.try_get("age_seconds")?,
            halt_reason: row.try_get("halt_reason")?,
            halted_seconds: row.try_get("halted_seconds")?,
        })
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "pipeline": self.pipeline, "incarnation": self.incarnation, "partition": self.partition,
            "next_position": self.next_position, "epoch": self.epoch, "owner": self.owner,
            "age_seconds": self.age_seconds, "halted": self.halt_reason, "halted_seconds": self.halted_seconds,
        })
    }

    fn row(&self) -> Vec<String> {
        vec![
            screen::escape(&self.pipeline),
            screen::escape(&self.partition),
            screen::escape(self.next_position.as_deref().unwrap_or("the beginning")),
            self.epoch.to_string(),
            screen::escape(&self.owner),
            screen::seconds(self.age_seconds),
            screen::escape(&self.incarnation),
        ]
    }

    /// Why it is halted, and since when.
    fn halt(&self, config: &Config) -> Option<String> {
        let reason = screen::escape(&config.localized(self.halt_reason.as_deref()?));
        let since = screen::seconds(self.halted_seconds.unwrap_or_default());
        Some(format!(
            "  {} partition {}, for {since}: {reason}",
            screen::escape(&self.pipeline),
            screen::escape(&self.partition)
        ))
    }

    /// The command that ends the halt: one for all partitions that go on with their oldest record.
    fn decision(&self, config: &Config) -> Option<String> {
        let pipeline = screen::escape(&self.pipeline);
        let arguments = match goes_on_at(self.halt_reason.as_deref()?) {
            "earliest" => format!("positions reset --pipeline {pipeline} --to earliest"),
            behind => {
                let partition = screen::escape(&self.partition);
                format!("positions reset --pipeline {pipeline} --partition {partition} --to {behind}")
            }
        };
        Some(format!("  {}", config.command(&arguments)))
    }
}
