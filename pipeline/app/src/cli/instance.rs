//! `millstream instance`: the addresses of hosts on which tasks share one. Events of ECS do not tell them.

use std::net::IpAddr;
use std::process::ExitCode;

use anyhow::bail;
use hyper::{Method, StatusCode};
use millstream_engine::clock::now_ms;
use serde_json::json;

use super::client::{Client, problem};
use super::screen;
use crate::config::Config;

/// Commands of `instance`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Tells the addresses of a host, as an event.
    Set {
        /// Source of its tasks.
        source: String,
        /// Id: the last part of the ARN of the container instance, or the name of the node.
        id: String,
        /// Address; may be given several times.
        #[arg(long, required = true)]
        address: Vec<IpAddr>,
        /// Print the event, and send nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let Command::Set { source, id, address, dry_run } = command;
    // Only the addresses are ordered by time: the state is that of the events of ECS, which count from 1.
    let event = json!({
        "specversion": "1.0", "type": "millstream.instance.v1", "source": "/millstream/cli",
        "id": format!("{id}-{}", now_ms()), "time": crate::time::utc(now_ms()),
        "data": { "id": id, "addresses": address, "sequence": 0, "address_sequence": now_ms() },
    });
    if *dry_run {
        screen::print_json(&event)?;
        return Ok(ExitCode::SUCCESS);
    }
    let client = Client::expect(config).await?;
    let store = percent_encoding::utf8_percent_encode(source, percent_encoding::NON_ALPHANUMERIC);
    let headers = [("content-type".to_owned(), "application/cloudevents+json".to_owned())];
    let path = format!("/v1/events?store={store}");
    let (status, answer) = client.send(Method::POST, &path, &headers, event.to_string().into()).await?;
    if status != StatusCode::ACCEPTED {
        bail!("{} answers {status}{}", client.address, problem(&answer));
    }
    screen::print(&format!("told: instance {id} of source {source}; `millstream task ls` shows what follows"));
    Ok(ExitCode::SUCCESS)
}
