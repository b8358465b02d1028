//! Positions in the shards of a stream of Kinesis, which are no numbers: they can go back to the oldest record.

use std::process::ExitCode;

use anyhow::bail;
use millstream_connectors::sources::kinesis::place::OLDEST;
use millstream_connectors::sources::kinesis::{KinesisOptions, KinesisSource};
use millstream_engine::Source as _;
use sqlx::PgConnection;

use super::{Reset, screen, stored};
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
    let moves: Vec<(String, Option<String>)> = of_stream
        .map(|(_, shard, next)| (shard, next))
        .filter(|(shard, _)| args.partition.as_ref().is_none_or(|only| only == shard))
        .collect();
    if moves.is_empty() {
        bail!("nothing of this stream was read yet, or not of that shard: `millstream positions show` lists what was");
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
        .bind(moves.iter().map(|(shard, _)| shard.clone()).collect::<Vec<_>>())
        .bind(moves.iter().map(|_| OLDEST.to_owned()).collect::<Vec<_>>())
        .bind(moves.iter().map(|_| None::<i64>).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    screen::print(&format!(
        "{} positions set; `millstream run` goes on from there, within seconds if it runs",
        moves.len()
    ));
    Ok(ExitCode::SUCCESS)
}
