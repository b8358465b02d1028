//! A reset as requested, and what all kinds of reset share.

use sqlx::{PgConnection, Row as _};

use crate::config::Config;

/// Options of `positions reset`.
#[derive(Debug, clap::Args)]
pub struct Reset {
    /// Pipeline whose positions are moved.
    #[arg(long)]
    pub(super) pipeline: String,
    /// Only this partition, or shard of Kinesis (default: all).
    #[arg(long)]
    pub(super) partition: Option<String>,
    /// `earliest`, `latest`, an offset, or `@TIME` for the first record stored then or later (`@2026-11-23T12:00Z`,
    /// `@1764000000`). Kinesis takes only `earliest`, a queue of SQS only `latest`.
    #[arg(long, value_name = "POSITION")]
    pub(super) to: String,
    /// Print what would change, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// The last line of a reset.
pub(super) fn goes_on(config: &Config, positions: usize) -> String {
    let run = config.command("run");
    format!("{positions} positions set; `{run}` goes on from there, within seconds if it runs")
}

/// Incarnation, partition and next position of every lease of a pipeline.
pub(super) async fn stored(
    connection: &mut PgConnection,
    pipeline: &str,
) -> anyhow::Result<Vec<(String, String, Option<String>)>> {
    let rows = sqlx::query(include_str!("../sql/lease_list.sql")).bind(pipeline).fetch_all(connection).await?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok((row.try_get("incarnation")?, row.try_get("partition")?, row.try_get("next_position")?))
    };
    Ok(rows.iter().map(read).collect::<Result<_, sqlx::Error>>()?)
}
