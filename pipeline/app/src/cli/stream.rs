//! `millstream stream`: records of the embedded stream that cannot be read, and how to go on after them.
//!
//! If a process is running, it does the work: producers and the other partitions are not disturbed.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use serde_json::json;

use super::screen;
use crate::config::{Config, Pipeline, StreamKind};
use crate::stream::Visit;

mod set_aside;

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Reads the whole stream and lists the records that cannot be read. Exits 1 if there are any.
    Check {
        /// Only the topic of this pipeline.
        #[arg(long)]
        pipeline: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Gives up damaged or missing records of a partition: records them as a gap and goes on after them. No file is
    /// changed or removed. If there is a copy of the file, restore it instead.
    SetAside(set_aside::Args),
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    if config.stream.kind != StreamKind::Log {
        bail!(
            "this command is for the embedded stream (stream.kind = \"log\"); Kafka and Kinesis look after their own"
        );
    }
    match command {
        Command::Check { pipeline, json } => check(config, pipeline.as_deref(), json).await,
        Command::SetAside(args) => set_aside::run(&args, config).await,
    }
}

async fn check(config: &Config, only: Option<&str>, json: bool) -> anyhow::Result<ExitCode> {
    let pipelines = match only {
        Some(name) => vec![named(config, name)?],
        None => by_topic(config),
    };
    let mut found = Vec::new();
    let mut checked = Vec::new();
    for pipeline in pipelines {
        let visit = Visit::open(config, pipeline).await?;
        let mut records = 0;
        let partitions = visit.partitions().await?;
        for partition in 0..partitions {
            let damages = visit.damages(partition).await?;
            let (start, end) = visit.range(partition).await?;
            records += end.saturating_sub(start);
            found.extend(damages.into_iter().map(|damage| (pipeline, damage)));
        }
        checked.push((pipeline.topic(), partitions, records));
        visit.close()?;
    }
    if json {
        let topics = checked.iter().map(
            |(topic, partitions, records)| json!({ "topic": topic, "partitions": partitions, "records": records }),
        );
        let damages = found.iter().map(
            |(pipeline, damage)| json!({ "topic": pipeline.topic(), "pipeline": pipeline.name, "damage": damage }),
        );
        screen::print_json(&json!({
            "topics": topics.collect::<Vec<_>>(), "damages": damages.collect::<Vec<_>>(),
        }))?;
    } else {
        for (topic, partitions, records) in &checked {
            let records = screen::grouped(*records);
            screen::print(&format!("topic {topic}: {partitions} partitions, {records} records read"));
        }
        for (pipeline, damage) in &found {
            let partition = damage.partition;
            let from = damage.from;
            let name = &pipeline.name;
            let give_up = format!("stream set-aside --pipeline {name} --partition {partition} --from {from}");
            screen::print(&format!(
                "topic {}, partition {partition}: {}\n  -> restore the file, or give these records up: {}",
                pipeline.topic(),
                screen::escape(&damage.text),
                config.command(&give_up),
            ));
        }
        if found.is_empty() {
            screen::print("no damage");
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The first pipeline of each topic of the stream.
fn by_topic(config: &Config) -> Vec<&Pipeline> {
    let mut pipelines: Vec<&Pipeline> = Vec::new();
    for pipeline in config.pipeline.iter().filter(|pipeline| pipeline.reads_stream()) {
        if pipelines.iter().all(|known| known.topic() != pipeline.topic()) {
            pipelines.push(pipeline);
        }
    }
    pipelines
}

fn named<'c>(config: &'c Config, name: &str) -> anyhow::Result<&'c Pipeline> {
    let mut known = config.pipeline.iter().filter(|pipeline| pipeline.reads_stream());
    known.clone().find(|pipeline| pipeline.name == name).with_context(|| {
        let known: Vec<&str> = known.by_ref().map(|pipeline| &*pipeline.name).collect();
        format!("no pipeline {name:?} reads the stream; {} do", known.join(", "))
    })
}
