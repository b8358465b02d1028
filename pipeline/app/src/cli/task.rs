//! `millstream task`: what runs where, and whether it gets requests.

use std::process::ExitCode;

use serde_json::Value;

use super::client::Client;
use super::screen::{self, found, text};
use crate::config::Config;

/// Commands of `task`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists tasks, those that get requests first.
    Ls(ListArgs),
    /// Shows one task: what was told of it, and why it gets requests or not.
    Show {
        /// Task id, or the first letters of one.
        id: String,
        /// Print the JSON answer of the process.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `task ls`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those of this service.
    #[arg(long)]
    service: Option<String>,
    /// Only those of this source.
    #[arg(long)]
    source: Option<String>,
    /// Only those in this state, such as `routable`, `draining`, `gone`, or a reason such as `no_deploy`.
    #[arg(long)]
    state: Option<String>,
    /// Maximum number of tasks.
    #[arg(long, default_value_t = 100)]
    limit: u32,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::expect(config).await?;
    match command {
        Command::Ls(args) => list(&client, args).await,
        Command::Show { id, json } => show(&client, id, *json).await,
    }
}

async fn list(client: &Client, args: &ListArgs) -> anyhow::Result<ExitCode> {
    let mut query = format!("?limit={}", args.limit);
    for (name, value) in [("service", &args.service), ("source", &args.source), ("state", &args.state)] {
        if let Some(value) = value {
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            query += &format!("&{name}={value}");
        }
    }
    let answer = client.get(&format!("/v1/tasks{query}")).await?;
    if args.json {
        screen::print_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let items = found(&answer, "items").and_then(Value::as_array).cloned().unwrap_or_default();
    if items.is_empty() {
        screen::print("there is no such task; tasks come by events: `millstream produce --topic tasks`");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["task", "state", "service", "revision", "address", "status"].map(str::to_owned).to_vec()];
    for item in &items {
        let names = ["id", "state", "service", "revision", "address", "status"];
        rows.push(names.map(|name| text(item, name)).to_vec());
    }
    screen::print(&screen::table(&rows));
    if found(&answer, "next").is_some_and(|next| !next.is_null()) {
        screen::print("there are more: narrow it with --service or --state, or raise --limit");
    }
    Ok(ExitCode::SUCCESS)
}

/// Why a task gets requests or not.
pub(super) async fn why(config: &Config, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    show(&Client::expect(config).await?, id, json).await
}

async fn show(client: &Client, id: &str, json: bool) -> anyhow::Result<ExitCode> {
    let id = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
    let answer = client.get(&format!("/v1/tasks?id={id}&limit=10")).await?;
    let items = found(&answer, "items").and_then(Value::as_array).cloned().unwrap_or_default();
    if json {
        screen::print_json(&answer)?;
    } else if items.is_empty() {
        screen::print("there is no such task");
    }
    for item in items.iter().filter(|_| !json) {
        let members = item.as_object().into_iter().flatten();
        let rows: Vec<Vec<String>> = members
            .filter(|(_, value)| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()))
            .map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                vec![name.replace('_', " "), screen::escape(&value)]
            })
            .collect();
        screen::print(&screen::table(&rows));
    }
    Ok(if items.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
