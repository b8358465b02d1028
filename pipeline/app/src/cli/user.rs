//! `millstream user`: accounts of the database that read the views and can change nothing.
//!
//! Passwords are made here, shown once, and never sent to the server: it gets their verifiers.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use millstream_postgres::settings::Roles;
use millstream_postgres::{Connection, Connector, scram};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::database::{Database, Expect};
use super::screen;
use crate::config::Config;
use crate::migrate;

mod connect;

/// 62 to the 28th is more than 160 bits: it cannot be guessed, and is still one word.
const PASSWORD_CHARACTERS: usize = 28;
/// Accounts are changed under locks that are held only briefly: a longer wait has a cause that a person should know of.
pub(super) const TURN_WITHIN: Duration = Duration::from_secs(10);

/// What to do with accounts.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Creates an account, and prints how to connect with psql, DuckDB and Metabase. The password is shown once.
    Add {
        /// Name of the account: lower-case letters, digits and `_`.
        name: String,
        /// Role of the account: `analyst` reads the views of schema analytics.
        #[arg(long, value_enum)]
        role: Role,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lists the accounts created by `add`, with their sessions and the settings of these sessions.
    Ls {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Removes an account, and ends its sessions.
    Rm {
        /// Name of the account.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Gives an account a new password, which is shown once. Its sessions go on.
    Passwd {
        /// Name of the account.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Reads the views of schema analytics and writes nothing, in at most 8 sessions. By default a statement ends
    /// within a minute; a session may change that for itself.
    Analyst,
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    if let Command::Add { name, .. } | Command::Rm { name, .. } | Command::Passwd { name, .. } = command {
        check_name(name)?;
    }
    let (database, mut connection) = Database::open(config, Expect::Tables).await?;
    let done = execute(command, config, &database, &mut connection).await;
    database.close(connection).await?;
    done.map(|()| ExitCode::SUCCESS)
}

async fn execute(
    command: &Command,
    config: &Config,
    database: &Database,
    connection: &mut Connection,
) -> anyhow::Result<()> {
    let existing = config.postgres.roles == Roles::Existing;
    let connector = database.migrate_connector(config).application_name("millstream command");
    match command {
        Command::Ls { json } => list(connection, config, *json).await,
        Command::Add { name, json, .. } => {
            let password = password();
            let statements = statements(connection, name, &password).await?;
            if existing {
                let grants = include_str!("sql/analyst_grant.sql").trim_end();
                let statements = format!("{grants}\n{};", statements.replace("';", "';\n"));
                return script(&statements, Some(&password), *json);
            }
            let open = add(&connector, connection, name, &statements).await?;
            connect::print(config, database, name, &password, &open, *json)
        }
        Command::Passwd { name, json } => {
            find(connection, name).await?;
            let password = password();
            let statement: String = sqlx::query_scalar(include_str!("sql/analyst_password.sql"))
                .bind(name)
                .bind(scram::verifier(&password)?)
                .fetch_one(&mut *connection)
                .await?;
            if existing {
                return script(&format!("{statement};"), Some(&password), *json);
            }
            change(&connector, connection, name, &statement).await?;
            connect::print(config, database, name, &password, &[], *json)
        }
        Command::Rm { name, json } => {
            find(connection, name).await?;
            if existing {
                return script(&format!("DROP ROLE {name};"), None, *json);
            }
            remove(&connector, connection, name, *json).await
        }
    }
}

pub(super) fn password() -> String {
    rand::rng().sample_iter(Alphanumeric).take(PASSWORD_CHARACTERS).map(char::from).collect()
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if !first || !name.bytes().all(plain) || name.len() > 63 {
        bail!(
            "{name:?} cannot name an account: use 1 to 63 lower-case letters, digits and `_`, beginning with a letter"
        );
    }
    if name.starts_with("pg_") || name.starts_with("millstream") {
        bail!("names that begin with pg_ or millstream are taken: choose another than {name}");
    }
    Ok(())
}

/// Creates the role of analysts if missing, in the same transaction as the account. Returns the statements that would
/// revoke from analysts what we may not revoke.
async fn add(
    connector: &Connector,
    connection: &mut Connection,
    name: &str,
    statements: &str,
) -> anyhow::Result<Vec<(String, String)>> {
    migrate::in_turn(connector, connection, TURN_WITHIN, async |connection| {
        let open = grant_analyst(connection).await?;
        let made = sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut *connection).await;
        made.map_err(|error| explain(error, name))?;
        Ok(open)
    })
    .await
}

/// Runs one statement about an account, taking turns with other changes of accounts or tables.
async fn change(connector: &Connector, connection: &mut Connection, name: &str, statement: &str) -> anyhow::Result<()> {
    migrate::in_turn(connector, connection, TURN_WITHIN, async |connection| {
        let changed = sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await;
        changed.map(drop).map_err(|error| explain(error, name))
    })
    .await
}

/// The statements that make the account.
async fn statements(connection: &mut PgConnection, name: &str, password: &str) -> anyhow::Result<String> {
    let verifier = scram::verifier(password)?;
    let statements = sqlx::query_scalar(include_str!("sql/analyst_user.sql")).bind(name).bind(verifier);
    Ok(statements.fetch_one(connection).await?)
}

/// Prints the statements, for another person to run.
fn script(statements: &str, password: Option<&str>, json: bool) -> anyhow::Result<()> {
    if json {
        return screen::print_json(&json!({ "done": false, "statements": statements, "password": password }));
    }
    let shown =
        password.map(|password| format!("\n-- The password, which is not in them: {password}")).unwrap_or_default();
    screen::print(&format!(
        "-- postgres.roles is \"existing\": nothing was done. Somebody who may make roles and owns the views runs this.{shown}\n{statements}"
    ));
    Ok(())
}

/// Creates the role of analysts, or brings it up to date. Returns what analysts can still write, with the statement
/// that revokes it, which we may not run.
pub(super) async fn grant_analyst(connection: &mut PgConnection) -> anyhow::Result<Vec<(String, String)>> {
    let granted = sqlx::raw_sql(include_str!("sql/analyst_grant.sql")).execute(&mut *connection).await;
    granted.map_err(|error| explain(error, "millstream_analyst")).context("make the role millstream_analyst")?;
    Ok(sqlx::query_as(include_str!("sql/analyst_open.sql")).fetch_all(connection).await?)
}

/// Finds an account created by `add`; no other is touched.
async fn find(connection: &mut PgConnection, name: &str) -> anyhow::Result<()> {
    let rows = sqlx::query(include_str!("sql/analyst_list.sql")).fetch_all(connection).await?;
    for row in rows {
        if row.try_get::<String, _>("name")? == name {
            return Ok(());
        }
    }
    bail!("there is no account {name} of an analyst: `millstream user ls` lists them")
}

async fn list(connection: &mut PgConnection, config: &Config, json: bool) -> anyhow::Result<()> {
    let rows = sqlx::query(include_str!("sql/analyst_list.sql")).fetch_all(connection).await?;
    let mut accounts = Vec::new();
    let mut shown = vec![["name", "role", "sessions", "of at most", "settings"].map(str::to_owned).to_vec()];
    for row in &rows {
        let name: String = row.try_get("name")?;
        let settings: Vec<String> = row.try_get("settings")?;
        let sessions: i64 = row.try_get("sessions")?;
        let most: i32 = row.try_get("connections_max")?;
        let may_log_in: bool = row.try_get("may_log_in")?;
        let most_shown = if most < 0 { "no limit".to_owned() } else { most.to_string() };
        let role = if may_log_in { "analyst" } else { "analyst (may not log in)" };
        shown.push(vec![
            name.clone(),
            role.to_owned(),
            sessions.to_string(),
            most_shown,
            screen::escape(&settings.join(", ")),
        ]);
        let most = (most >= 0).then_some(most);
        accounts.push(json!({
            "name": name, "role": "analyst", "may_log_in": may_log_in, "sessions": sessions, "connections_max": most,
            "settings": settings,
        }));
    }
    if json {
        return screen::print_json(&json!({ "users": accounts }));
    }
    if rows.is_empty() {
        screen::print(&format!("no account yet: {}", config.command("user add NAME --role analyst")));
    } else {
        screen::print(&screen::table(&shown));
    }
    Ok(())
}

async fn remove(connector: &Connector, connection: &mut Connection, name: &str, json: bool) -> anyhow::Result<()> {
    // No new session begins while the present ones are ended. The name was checked: it needs no quotes.
    change(connector, connection, name, &format!("ALTER ROLE {name} NOLOGIN")).await?;
    let ended = sqlx::query_scalar(include_str!("sql/sessions_end.sql")).bind(name).fetch_one(&mut *connection).await;
    let ended: Option<i64> = match ended {
        Ok(ended) => Some(ended),
        // On some servers an account that creates roles may not end the sessions of others.
        Err(error) if code(&error).as_deref() == Some("42501") => None,
        Err(error) => return Err(error.into()),
    };
    change(connector, connection, name, &format!("DROP ROLE {name}")).await?;
    if json {
        return screen::print_json(&json!({ "removed": name, "sessions_ended": ended }));
    }
    screen::print(&match ended {
        Some(0) => format!("removed {name}"),
        Some(ended) => format!("removed {name}, and ended its {ended} sessions"),
        None => format!("removed {name}; sessions that it has go on, for this account may not end them"),
    });
    Ok(())
}

fn code(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|said| said.code()).map(String::from)
}

fn explain(error: sqlx::Error, name: &str) -> anyhow::Error {
    match code(&error).as_deref() {
        Some("42710") => anyhow::anyhow!(
            "there is a role {name} already: choose another name, give it a new password with `millstream user passwd {name}`, \
             or remove it with `millstream user rm {name}`"
        ),
        Some("42501") => anyhow::Error::new(error)
            .context("the account of postgres.url may not make roles: let its owner run ALTER ROLE .. CREATEROLE, or make the account there"),
        Some("2BP01") => anyhow::Error::new(error).context(format!(
            "{name} owns something, or was granted more than the role of analysts; it may not log in any more. A superuser runs, in each database: DROP OWNED BY {name}; and then DROP ROLE {name};"
        )),
        _ => error.into(),
    }
}
