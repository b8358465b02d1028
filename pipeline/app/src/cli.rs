//! The command line.
//!
//! Commands that look at the running process ask it over HTTP; those that look at the tables open the database
//! alongside it, which any number of processes may do. Exit codes: 0 done (of `run`: all committed), 78 the
//! configuration is wrong, 2 the command line is wrong, 1 everything else.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Layers, Problems};
use crate::data_dir;

mod run;
pub(crate) mod signals;

mod init;
mod settings;

mod migrate;

mod produce;

mod consume;

mod status;

pub(crate) mod why;

mod quarantine;

mod positions;

mod stream;

mod replay;

mod counters;

mod task;

mod deploy;

mod route;

mod instance;

mod gateway;

mod resume;

mod pace;

mod user;

mod token;

mod psql;

mod doctor;

mod tune;

pub(crate) mod client;
mod database;
pub(crate) mod screen;

/// Environment variables, printed below the help.
const ENVIRONMENT: &str = "\
Environment:
  MILLSTREAM__SECTION__KEY  One setting, such as MILLSTREAM__HTTP__LISTEN=127.0.0.1:9000; --set wins over it
  MILLSTREAM_LOG            What is logged: error, warn, info, debug, trace, or parts of it, such as
                            info,millstream_engine=debug (default of run: info; of other commands: warn)
  MILLSTREAM_PG_BIN         The directory of postgres and initdb for the private cluster
  NO_COLOR                  Log lines without colours";

/// `EX_CONFIG` of `sysexits.h`; supervisors do not restart on it.
const EXIT_CONFIGURATION: u8 = 78;

/// How long a command waits for its threads to end.
const LEAVE_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// Every state change is a stream event; millstream turns those events into Postgres tables that are always right.
#[derive(Debug, Parser)]
#[command(name = "millstream", version, propagate_version = true, after_help = ENVIRONMENT)]
pub struct Cli {
    /// Override one setting, such as `http.listen=127.0.0.1:9000`; may be given several times.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE", help_heading = "Configuration")]
    pub set: Vec<String>,
    /// Configuration file (default: ./millstream.toml, if it exists).
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub config: Option<PathBuf>,
    /// Directory of everything that millstream stores itself (default: ./.millstream, as root /var/lib/millstream).
    #[arg(long, global = true, value_name = "DIR", help_heading = "Configuration")]
    pub data_dir: Option<PathBuf>,
    /// Address of the HTTP endpoint, where commands find the running process (default: 127.0.0.1:8080).
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Configuration")]
    pub listen: Option<String>,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the whole system on this machine, live, with a generator of uploads.
    Demo(crate::demo::Args),
    /// Writes a millstream.toml with every setting, its default and its meaning.
    Init(init::Args),
    /// Runs the stream, the pipelines and the HTTP endpoint until SIGTERM or Ctrl-C.
    Run(run::Args),
    /// Runs the gateway alone until SIGTERM or Ctrl-C; `run` runs one, too, where gateway.listen is set.
    Gateway,
    /// Runs the checker of tasks alone until SIGTERM or Ctrl-C; `run` runs one, too, where checker.enabled is set.
    Check,
    /// Checks the configuration without touching anything; exits 78 if it is wrong.
    Validate(settings::ValidateArgs),
    /// Shows the configuration, and where each value comes from.
    #[command(subcommand)]
    Config(settings::Config),
    /// Checks disk, stream, database and ports, and says how to repair each failure.
    Doctor(doctor::Args),
    /// Brings the database's schema up to date. `run` does so by itself.
    Migrate(migrate::Args),
    /// Sends events, one JSON document per line, to the running process.
    Produce(produce::Args),
    /// Shows the records of a topic; joins no group and moves no position.
    Consume(consume::Args),
    /// Shows the state of the running process.
    Status(status::Args),
    /// Shows what became of one object (its rows, its events, its quarantined records), or why a task or route is as it is.
    Why(why::Args),
    /// Lists events that could not be written; writes them again or removes them.
    #[command(subcommand)]
    Quarantine(quarantine::Command),
    /// Resumes a pipeline, or one of its stores, that was paused because of too many bad events.
    Resume(resume::Args),
    /// Shows the controller of the running process; freezes it, or sets its bounds, until that process ends.
    Pace(pace::Args),
    /// Finds damage of the embedded stream, and sets it aside so that reading goes on.
    #[command(subcommand)]
    Stream(stream::Command),
    /// Shows where each pipeline stands in the stream, and moves it.
    #[command(subcommand)]
    Positions(positions::Command),
    /// Reads a time range into the tables again, alongside the pipeline; what they already hold stays unchanged.
    Replay(replay::Args),
    /// Compares counters (by bucket, segment and hour) with the rows, and repairs differences.
    #[command(subcommand)]
    Counters(counters::Command),
    /// Shows tasks: what runs where, and whether it gets requests.
    #[command(subcommand)]
    Task(task::Command),
    /// Manages the revisions of services, and which tasks belong to them.
    #[command(subcommand)]
    Deploy(deploy::Command),
    /// Tells the addresses of hosts on which tasks share one.
    #[command(subcommand)]
    Instance(instance::Command),
    /// Manages which revisions an alias of a service means, and shows what gateways make of it.
    #[command(subcommand)]
    Route(route::Command),
    /// Manages database accounts for people and their tools.
    #[command(subcommand)]
    User(user::Command),
    /// Manages tokens of the HTTP endpoint: who may do what.
    #[command(subcommand)]
    Token(token::Command),
    /// Opens the database in psql.
    Psql(psql::Args),
    /// Simulates or replays the controller of batch size and concurrency.
    Tune(tune::Args),
    /// Measures this machine; pipeline/docs/figures.md explains the figures.
    Bench(crate::bench::Args),
    /// A process of the demo's service.
    #[command(hide = true)]
    DemoModel(crate::demo::services::process::Args),
    /// Prints a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// Runs the program; returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // A service logs what it does; a command prints its result and logs only problems. The demo draws on the terminal
    // and shows problems there; a log line would tear the drawing apart.
    let level = match cli.command {
        Command::Run(_) | Command::Bench(_) | Command::Gateway | Command::Check => "info,sqlx=warn",
        Command::Demo(_) if std::io::stdout().is_terminal() && std::io::stderr().is_terminal() => "off",
        _ => "warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("MILLSTREAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // If the terminal is gone, the log is lost, but the drain goes on: reporting the write error would panic.
    let log = tracing_subscriber::fmt().log_internal_errors(false);
    log.with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    // Set once the configuration is read: errors after that may name commands, which depend on it.
    let known = OnceLock::new();
    let ended = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(anyhow::Error::from).and_then(
        |runtime| {
            let ended = runtime.block_on(Box::pin(dispatch(cli, &known)));
            // A thread that still blocks, such as in a read of standard input, has nothing left to do.
            runtime.shutdown_timeout(LEAVE_WITHIN);
            ended
        },
    );
    ended.unwrap_or_else(|error| {
        let code = if is_configuration(&error) { ExitCode::from(EXIT_CONFIGURATION) } else { ExitCode::FAILURE };
        match error.downcast_ref::<Problems>() {
            Some(problems) => screen::complain(&problems.to_string()),
            None => {
                let text = format!("millstream: {error:#}");
                let told = known.get().map_or(Cow::Borrowed(text.as_str()), |config: &Config| config.localized(&text));
                screen::complain(&told);
            }
        }
        code
    })
}

async fn dispatch(cli: Cli, known: &OnceLock<Config>) -> anyhow::Result<ExitCode> {
    refuse_unused(&cli);
    let keeps_interrupts = matches!(cli.command, Command::Psql(_) | Command::Replay(_) | Command::Consume(_));
    match cli.command {
        Command::Run(_) | Command::Demo(_) | Command::Gateway | Command::Check => Box::pin(execute(cli, known)).await,
        _ => signals::or_leave(Box::pin(execute(cli, known)), keeps_interrupts).await,
    }
}

/// Refuses the global options that a command does not use.
fn refuse_unused(cli: &Cli) {
    let (name, reads_file) = match cli.command {
        Command::Completions { .. } => ("completions", false),
        Command::Tune(_) => ("tune", false),
        Command::Bench(_) => ("bench", false),
        Command::Init(_) => ("init", true),
        _ => return,
    };
    let given = [
        ("--set", !cli.set.is_empty()),
        ("--config", cli.config.is_some() && !reads_file),
        ("--data-dir", cli.data_dir.is_some()),
        ("--listen", cli.listen.is_some()),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        let message =
            format!("`millstream {name}` reads no configuration, so {flag} would change nothing: leave it out");
        <Cli as clap::CommandFactory>::command().error(clap::error::ErrorKind::ArgumentConflict, message).exit();
    }
}

/// Runs the command; stores the configuration in `known`.
async fn execute(cli: Cli, known: &OnceLock<Config>) -> anyhow::Result<ExitCode> {
    let layers = layers(&cli)?;
    // The demo uses its own directory below the configured one.
    let is_demo = matches!(cli.command, Command::Demo(_));
    let read = || {
        let loaded = config::load(&layers)?;
        if !is_demo {
            known.set(loaded.config.clone()).ok();
        }
        anyhow::Ok(loaded)
    };
    let load = || {
        let loaded = read()?;
        data_dir::check(&loaded.config.data_dir)?;
        anyhow::Ok(loaded)
    };
    match cli.command {
        Command::Init(args) => init::run(&args, layers.file.as_deref()),
        Command::Completions { shell } => completions(shell),
        Command::Validate(args) => settings::validate(args, layers),
        Command::Tune(args) => tune::run(&args),
        Command::DemoModel(args) => crate::demo::services::process::run(args).await,
        Command::Bench(args) => Box::pin(crate::bench::run(args)).await,
        Command::Demo(args) => crate::demo::run(args, load()?.config).await,
        Command::Run(_) => run::run(load()?.config).await,
        Command::Gateway => gateway::run(load()?.config, gateway::Part::Gateway).await,
        Command::Check => gateway::run(load()?.config, gateway::Part::Checker).await,
        Command::Config(command) => settings::show(&command, &read()?),
        Command::Doctor(args) => doctor::run(&args, &read()?).await,
        Command::Migrate(args) => migrate::run(&args, &load()?.config).await,
        Command::Produce(args) => produce::run(&args, &load()?.config).await,
        Command::Replay(args) => replay::run_replay(&args, &load()?.config).await,
        Command::Consume(args) => consume::run(&args, &load()?.config).await,
        Command::Status(args) => status::run(&args, &load()?.config).await,
        Command::Why(args) => why::run(&args, &load()?.config).await,
        Command::Quarantine(command) => quarantine::run(command, &load()?.config).await,
        Command::Resume(args) => resume::run(&args, &load()?.config).await,
        Command::Pace(args) => pace::run(&args, &load()?.config).await,
        Command::Positions(command) => Box::pin(positions::run(command, &load()?.config)).await,
        Command::Stream(command) => stream::run(command, &load()?.config).await,
        Command::Counters(command) => counters::run(command, &load()?.config).await,
        Command::Task(command) => task::run(&command, &load()?.config).await,
        Command::Deploy(command) => deploy::run(&command, &load()?.config).await,
        Command::Instance(command) => instance::run(&command, &load()?.config).await,
        Command::Route(command) => route::run(&command, &load()?.config).await,
        Command::Token(command) => token::run(&command, &load()?.config),
        Command::User(command) => user::run(&command, &load()?.config).await,
        Command::Psql(args) => psql::run(&args, &load()?.config).await,
    }
}

/// The layers above the defaults, from the environment and the command line of this process.
fn layers(cli: &Cli) -> anyhow::Result<Layers> {
    let mut flags = Vec::new();
    if let Some(directory) = &cli.data_dir {
        let Some(text) = directory.to_str() else {
            anyhow::bail!("--data-dir {} is no text in UTF-8", directory.display())
        };
        flags.push(("--data-dir", "data_dir", text.to_owned()));
    }
    if let Some(listen) = &cli.listen {
        flags.push(("--listen", "http.listen", listen.clone()));
    }
    if let Command::Run(run::Args { record: Some(path) }) = &cli.command {
        let Some(text) = path.to_str() else { anyhow::bail!("--record {} is no text in UTF-8", path.display()) };
        flags.push(("--record", "controller.record", text.to_owned()));
    }
    // A variable that is not UTF-8 cannot be one of our settings.
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let environment = std::env::vars_os().filter_map(text).collect();
    Ok(Layers { file: cli.config.clone(), environment, set: cli.set.clone(), flags })
}

/// Whether the error is in the configuration: until that is edited, another start is useless.
fn is_configuration(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let log = cause.downcast_ref::<millstream_log::Error>();
        cause.is::<Problems>()
            || cause.is::<millstream_postgres::settings::Error>()
            || matches!(
                cause.downcast_ref(),
                Some(millstream_postgres::Error::Setting { .. } | millstream_postgres::Error::ServerSetting { .. })
            )
            || matches!(cause.downcast_ref(), Some(millstream_postgres::ConnectError::Setting(_)))
            || matches!(log, Some(millstream_log::Error::Partitions { .. } | millstream_log::Error::TopicName { .. }))
    })
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "millstream", &mut script);
    screen::print(&String::from_utf8(script)?);
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
