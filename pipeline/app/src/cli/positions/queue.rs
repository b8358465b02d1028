//! Positions of consumers that read a queue of SQS straight into the tables: sequence numbers of their own, which a
//! person can only give up. The consumer then goes on with what it receives next.

use std::process::ExitCode;

use anyhow::bail;
use sqlx::PgConnection;

use super::request::{Reset, stored};
use super::screen;
use crate::config::Pipeline;

pub(super) async fn reset(
    connection: &mut PgConnection,
    pipeline: &Pipeline,
    args: &Reset,
) -> anyhow::Result<ExitCode> {
    // The oldest message left in a queue is the one received next.
    if !["earliest", "latest"].contains(&&*args.to) {
        bail!(
            "--to {}: what was deleted from a queue cannot be read again, so a consumer can only go on with what comes next: write earliest or latest",
            args.to
        );
    }
    let leases = stored(connection, &pipeline.name).await?.into_iter();
    let moves: Vec<(String, String)> = leases
        .filter(|(incarnation, _, _)| incarnation.starts_with("arn:") && incarnation.contains(":sqs:"))
        .filter(|(_, consumer, _)| args.partition.as_ref().is_none_or(|only| only == consumer))
        .map(|(incarnation, consumer, _)| (incarnation, consumer))
        .collect();
    if moves.is_empty() {
        bail!("no consumer of that name has read this queue: `millstream positions show` lists those that did");
    }
    let mut rows = vec![["consumer", "queue", "effect"].map(str::to_owned).to_vec()];
    for (incarnation, consumer) in &moves {
        let effect = "goes on with what it receives next".to_owned();
        rows.push(vec![screen::escape(consumer), screen::escape(incarnation), effect]);
    }
    screen::print(&screen::table(&rows));
    if args.dry_run {
        screen::print("dry run, nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    for (incarnation, consumer) in &moves {
        sqlx::query(include_str!("../sql/position_reset.sql"))
            .bind(&pipeline.name)
            .bind(incarnation)
            .bind([consumer])
            .bind([None::<String>])
            .bind([None::<i64>])
            .execute(&mut *connection)
            .await?;
    }
    screen::print(&format!("{} consumers go on, within seconds if they run; gaps stay on record", moves.len()));
    Ok(ExitCode::SUCCESS)
}
