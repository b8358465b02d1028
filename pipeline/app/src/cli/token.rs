//! `millstream token`: edits the file of tokens. A running process rereads it within a second.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::json;

use super::screen;
use crate::config::Config;
use crate::tokens::{self, Duty, Entry};

/// 62 to the 40th is more than 230 bits: it cannot be guessed, and is still one word.
const TOKEN_CHARACTERS: usize = 40;

/// What to do with tokens.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Adds a token to the file, and prints it once. Without options it may do everything everywhere.
    Add(Add),
    /// Lists the tokens: their names, duties and limits, never the tokens themselves.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes the tokens with a name, or the token on a line.
    Rm {
        /// Name of the tokens.
        #[arg(required_unless_present = "line")]
        name: Option<String>,
        /// Line of the file, as printed by `millstream token ls`, for tokens without a name.
        #[arg(long, conflicts_with = "name")]
        line: Option<usize>,
    },
}

/// Options of `token add`.
#[derive(Debug, clap::Args)]
pub struct Add {
    /// Name of the token: letters, digits and . _ - @.
    name: String,
    /// Duties of the token (default: all).
    #[arg(long, value_enum, value_delimiter = ',', value_name = "DUTY,DUTY")]
    duties: Vec<Duty>,
    /// Only this object store, or source of task events.
    #[arg(long)]
    store: Option<String>,
    /// Only this bucket.
    #[arg(long)]
    bucket: Option<String>,
    /// Only keys with this prefix.
    #[arg(long)]
    prefix: Option<String>,
    /// Only log streams with this prefix.
    #[arg(long)]
    logs: Option<String>,
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    let path = config.http.tokens_file.as_deref().context(
        "no file of tokens is configured: name one with http.tokens_file in millstream.toml, or with --set http.tokens_file=tokens",
    )?;
    match command {
        Command::Add(add) => run_add(add, path)?,
        Command::Ls { json } => list(path, *json)?,
        Command::Rm { name, line } => remove(path, name.as_deref(), *line)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_add(add: &Add, path: &Path) -> anyhow::Result<()> {
    tokens::check_name(&add.name).map_err(anyhow::Error::msg)?;
    let token: String = rand::rng().sample_iter(Alphanumeric).take(TOKEN_CHARACTERS).map(char::from).collect();
    let mut line = format!("{}:{token}", add.name);
    if !add.duties.is_empty() {
        let names: Vec<&str> = add.duties.iter().map(|duty| duty.as_str()).collect();
        line += &format!(" duties={}", names.join(","));
    }
    let limits = [("store", &add.store), ("bucket", &add.bucket), ("prefix", &add.prefix), ("logs", &add.logs)];
    for (option, value) in limits.iter().filter_map(|(option, value)| Some((option, value.as_deref()?))) {
        if value.contains(char::is_whitespace) {
            bail!("--{option} {value:?}: a line of the file has no place for spaces in a value");
        }
        line += &format!(" {option}={value}");
    }
    tokens::edit(path, |text| {
        // A file with a mistake stays as it is: a person who can read it has to correct it.
        if !text.trim().is_empty() {
            let entries = tokens::parse(text).with_context(|| format!("read {}", path.display()))?;
            if entries.iter().any(|entry| entry.name.as_deref() == Some(&*add.name)) {
                bail!(
                    "there is a token {} already: choose another name, or remove it with `millstream token rm {}`",
                    add.name,
                    add.name
                );
            }
        }
        let ends = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{text}{ends}{line}\n");
        tokens::parse(&text)?;
        Ok((text, ()))
    })?;
    screen::print(&format!("{token}\n\nthe token {} (shown once), in {}", add.name, path.display()));
    Ok(())
}

fn limits(entry: &Entry) -> Vec<(&'static str, &str)> {
    let scope = &entry.scope;
    let limits = [("store", &scope.store), ("bucket", &scope.bucket), ("prefix", &scope.prefix), ("logs", &scope.logs)];
    limits.into_iter().filter_map(|(option, value)| Some((option, value.as_deref()?))).collect()
}

fn list(path: &Path, as_json: bool) -> anyhow::Result<()> {
    let entries = tokens::read(path)?;
    if as_json {
        let shown = entries.iter().map(|entry| {
            let limits: serde_json::Map<String, serde_json::Value> =
                limits(entry).into_iter().map(|(option, value)| (option.to_owned(), value.into())).collect();
            let duties: Vec<&str> = entry.scope.duties.names().collect();
            json!({ "line": entry.line, "name": entry.name, "duties": duties, "limits": limits })
        });
        return screen::print_json(&json!(shown.collect::<Vec<_>>()));
    }
    let mut rows = vec![["line", "name", "duties", "limits"].map(str::to_owned).to_vec()];
    for entry in &entries {
        let duties: Vec<&str> = entry.scope.duties.names().collect();
        let duties = if duties.len() == Duty::ALL.len() { "all".to_owned() } else { duties.join(",") };
        let limits: Vec<String> =
            limits(entry).into_iter().map(|(option, value)| screen::escape(&format!("{option}={value}"))).collect();
        let none = |text: String| if text.is_empty() { screen::dash() } else { text };
        rows.push(vec![
            entry.line.to_string(),
            none(entry.name.clone().unwrap_or_default()),
            duties,
            none(limits.join(" ")),
        ]);
    }
    screen::print(&screen::table(&rows));
    Ok(())
}

fn remove(path: &Path, name: Option<&str>, line: Option<usize>) -> anyhow::Result<()> {
    let wanted = name.map_or_else(|| format!("line {}", line.unwrap_or_default()), str::to_owned);
    let removed = tokens::edit(path, |text| {
        let entries = tokens::parse(text).with_context(|| format!("read {}", path.display()))?;
        let is_meant = |entry: &&Entry| line.map_or_else(|| entry.name.as_deref() == name, |line| entry.line == line);
        let lines: Vec<usize> = entries.iter().filter(is_meant).map(|entry| entry.line).collect();
        if lines.is_empty() {
            bail!("there is no token {wanted} in {}; `millstream token ls` shows what there is", path.display());
        }
        if lines.len() == entries.len() {
            bail!(
                "{wanted} is the last token: without one nobody could ask anything; add another first, with `millstream token add NAME`"
            );
        }
        let kept = text.split_inclusive('\n').enumerate().filter(|(at, _)| !lines.contains(&(at + 1)));
        Ok((kept.map(|(_, line)| line).collect(), lines.len()))
    })?;
    let tokens = if removed == 1 { "1 token" } else { "tokens" };
    let count = if removed == 1 { String::new() } else { format!("{removed} ") };
    screen::print(&format!("removed {count}{tokens} ({wanted}); a running process knows within a second"));
    Ok(())
}
