//! `millstream route`: which revisions an alias of a service means, and what gateways make of it.

mod change;
pub(super) use change::change_id;

mod show;

use std::process::ExitCode;

use super::client::Client;
use crate::config::Config;

/// Commands of `route`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Lists the aliases of all services, or of one.
    Ls(ListArgs),
    /// Shows one alias: its revisions, and which gateways serve which generation.
    Show(AliasArgs),
    /// Sets the revisions of an alias, each with its weight.
    Set(change::SetArgs),
    /// Sends all requests of an alias to one revision, once that is ready.
    Flip(change::FlipArgs),
    /// Sets an alias to what it was before its newest generation.
    Rollback(change::ChangeArgs),
    /// Deletes an alias; requests for it are answered 404.
    Rm(change::ChangeArgs),
    /// Lists the generations of an alias, the newest first.
    History(AliasArgs),
    /// Prints an alias, and again whenever it or what a gateway serves of it changes, until Ctrl-C.
    Watch(AliasArgs),
    /// Removes tasks, instances and slices that are long gone; late events of the tasks are not written any more.
    Purge(change::PurgeArgs),
    /// Says which revisions an alias meant at a time, and which generation each gateway served then.
    Who(WhoArgs),
}

/// Options of `route ls`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those of this service.
    service: Option<String>,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

/// An alias.
#[derive(Debug, clap::Args)]
pub struct AliasArgs {
    /// Service.
    service: String,
    /// Alias, such as `prod`.
    alias: String,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

/// Options of `route who`.
#[derive(Debug, clap::Args)]
pub struct WhoArgs {
    /// Service.
    service: String,
    /// Alias, such as `prod`.
    alias: String,
    /// Time, such as `2026-12-01T12:03:10Z`.
    #[arg(long, value_name = "TIME")]
    at: String,
    /// Print the JSON answer of the process.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let client = Client::expect(config).await?;
    match command {
        Command::Ls(args) => show::list(&client, args).await,
        Command::Show(args) => show::one(&client, args).await,
        Command::Set(args) => change::set(&client, args).await,
        Command::Flip(args) => change::flip(&client, args).await,
        Command::Rollback(args) => change::roll_back(&client, args).await,
        Command::Rm(args) => change::delete(&client, args).await,
        Command::History(args) => show::history(&client, args).await,
        Command::Watch(args) => show::watch(&client, args).await,
        Command::Purge(args) => change::purge(&client, args).await,
        Command::Who(args) => show::who(&client, args).await,
    }
}

/// Which revisions an alias means, and which of their tasks get requests.
pub(super) async fn why(config: &Config, service: &str, alias: &str, json: bool) -> anyhow::Result<ExitCode> {
    let client = Client::expect(config).await?;
    // A path behind the alias is the task's.
    let alias = alias.split('/').next().unwrap_or_default();
    let args = AliasArgs { service: service.to_owned(), alias: alias.to_owned(), json };
    show::one(&client, &args).await?;
    if !json {
        show::tasks(&client, service).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A path below `/v1`, with its parts encoded.
fn path(parts: &[&str]) -> String {
    let encode =
        |part: &&str| percent_encoding::utf8_percent_encode(part, percent_encoding::NON_ALPHANUMERIC).to_string();
    format!("/v1/{}", parts.iter().map(encode).collect::<Vec<_>>().join("/"))
}
