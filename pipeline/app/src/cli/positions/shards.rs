//! Positions in the shards of a Kinesis stream, which are not numbers: they can go back to the oldest record.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use millstream_connectors::sources::kinesis::place::OLDEST;
use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource};
use millstream_engine::Source as _;
use sqlx::PgConnection;

use super::request::{Reset, goes_on, stored};
use super::screen;
use crate::config::{Config, Pipeline};
use crate::stream::kinesis_address;

pub(super) async fn reset(
    connection: &mut PgConnection,
    config: &Config,
    pipeline: &Pipeline,
    args: &Reset,
) -> anyhow::Result<ExitCode> {
    if args.to != "earliest" {
        bail!("--to {}: a shard of Kinesis can be sent to its oldest record only: write earliest", args.to);
    }
    let source = KinesisSource::open(KinesisOptions::new(kinesis_address(config, pipeline.topic()))).await?;
    let of_stream = stored(connection, &pipeline.name).await?.into_iter().filter(|one| one.0 == source.incarnation());
    let mut moves: BTreeMap<String, Option<String>> = of_stream.map(|(_, shard, next)| (shard, next)).collect();
    // Nothing of a recreated stream was read yet: it begins with the shards that have no parents.
    for shard in &*source.assignment().borrow() {
        moves.entry(shard.as_str().to_owned()).or_default();
    }
    moves.retain(|shard, _| args.partition.as_ref().is_none_or(|only| only == shard));
    if moves.is_empty() {
        bail!("there is no such shard to go back in: `millstream positions show` lists those that were read");
    }
    let mut rows = vec![["shard", "stored", "new"].map(str::to_owned).to_vec()];
    for (shard, next) in &moves {
        let next = next.as_deref().unwrap_or("the beginning");
        rows.push(vec![screen::escape(shard), screen::escape(next), OLDEST.to_owned()]);
    }
    screen::print(&screen::table(&rows));
    if args.dry_run {
        screen::print("dry run, nothing was changed");
        return Ok(ExitCode::SUCCESS);
    }
    sqlx::query(include_str!("../sql/position_reset.sql"))
        .bind(&pipeline.name)
        .bind(source.incarnation())
        .bind(moves.keys().cloned().collect::<Vec<_>>())
        .bind(vec![OLDEST; moves.len()])
        .bind(vec![None::<i64>; moves.len()])
        .execute(connection)
        .await?;
    screen::print(&goes_on(config, moves.len()));
    Ok(ExitCode::SUCCESS)
}
