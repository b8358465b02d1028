//! The database: there, new enough, durable, ours to write, and with the same idea of the time.

use std::time::{SystemTime, UNIX_EPOCH};

use millstream_postgres::POOLER_MEND;
use millstream_postgres::cluster::{self, Binaries};
use millstream_postgres::settings::Error;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::{Check, elsewhere};
use crate::cli::database::{Database, Expect, has_cluster};
use crate::config::Config;
use crate::migrate;

/// Versions that the SQL is written for and tested with.
const VERSIONS: std::ops::RangeInclusive<i32> = 15..=18;
/// Freshness is measured with two clocks; an answer of the database takes less than this.
const SKEW_MS_MAX: i64 = 2_000;
/// Connections of the pool, the controller, this command, and a person with psql.
const CONNECTIONS_BESIDE: usize = 13;

pub(super) async fn look(config: &Config) -> Vec<Check> {
    if config.postgres.is_embedded() && !has_cluster(&config.data_dir) {
        return vec![programs(config)];
    }
    let (database, mut connection) = match Database::open(config, Expect::Nothing).await {
        Ok(opened) => opened,
        Err(error) => return vec![Check::bad("postgres", format!("{error:#}"), mend_connection(config, &error))],
    };
    let mut checks = vec![];
    let before = now_ms();
    match sqlx::query(include_str!("../sql/doctor_server.sql")).fetch_one(&mut connection).await {
        Ok(row) => {
            checks.extend(server(config, &row, (before, now_ms())).unwrap_or_else(|error| vec![failed(&error)]));
        }
        Err(error) => checks.push(failed(&error)),
    }
    checks.push(schema(config, &mut connection).await);
    if !config.postgres.is_embedded() {
        checks.extend(elsewhere::look(&config.postgres).await);
    }
    if let Err(error) = database.close(connection).await {
        checks.push(Check::bad("postgres", format!("{error:#}"), "look at the server's log"));
    }
    checks
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn failed(error: &sqlx::Error) -> Check {
    Check::bad("postgres", error.to_string(), "look at the server's log")
}

fn mend_connection(config: &Config, error: &anyhow::Error) -> String {
    if let Some(Error::Pooler { setting, .. }) = error.chain().find_map(|cause| cause.downcast_ref()) {
        if *setting == "url" {
            POOLER_MEND.to_owned()
        } else {
            "postgres.migrate_url = the server's own address".to_owned()
        }
    } else if config.postgres.is_embedded() {
        format!("tail {}", config.data_dir.join("postgres/log").display())
    } else {
        "is the address right (`millstream config show`), is the server up, does pg_hba.conf let this machine in?"
            .to_owned()
    }
}

/// Without a cluster: whether one could be created.
fn programs(config: &Config) -> Check {
    let name = "postgres";
    // `run` opens the data directory itself to that account; directories above it are not ours to open.
    let above = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    if let Err(error) = cluster::reaches(above.parent().unwrap_or(&above)) {
        return Check::bad(name, error.to_string(), "name another place with --data-dir, or run as a normal user");
    }
    match Binaries::find(None, &config.data_dir.join("postgres/postgres")) {
        Ok(found) if found.major >= 15 => Check::good(
            name,
            format!(
                "PostgreSQL {} in {}; `millstream run` makes the private cluster",
                found.major,
                found.dir.display()
            ),
        ),
        Ok(found) => Check::bad(
            name,
            format!("PostgreSQL {} is too old", found.major),
            "install PostgreSQL 15 or newer: apt-get install postgresql",
        ),
        Err(error) => {
            let message = error.to_string();
            let (first, rest) = message.split_once('\n').unwrap_or((&message, "apt-get install postgresql"));
            Check::bad(name, first, rest)
        }
    }
}

fn server(config: &Config, row: &PgRow, clock: (i64, i64)) -> Result<Vec<Check>, sqlx::Error> {
    let text = |name: &str| row.try_get::<String, _>(name);
    let version: i32 = row.try_get("version")?;
    let version_text: String = text("version_text")?;
    let mut checks = vec![if VERSIONS.contains(&(version / 10_000)) {
        Check::good("postgres", format!("version {version_text} answers"))
    } else {
        let mend = format!("use PostgreSQL {} to {}", VERSIONS.start(), VERSIONS.end());
        Check::bad("postgres", format!("version {version_text} is not one that millstream is tested with"), mend)
    }];
    if row.try_get::<bool, _>("standby")? {
        checks.push(Check::bad("postgres role", "a standby: it takes no writes", "postgres.url must name the primary"));
    }
    let encoding = text("encoding")?;
    if encoding != "UTF8" {
        let mend = format!("createdb --encoding=UTF8 --template=template0 {}_utf8", text("database_name")?);
        checks.push(Check::bad("encoding", format!("{encoding} cannot hold every key"), mend));
    }
    checks.push(durability(&text("fsync")?, &text("full_page_writes")?, &text("synchronous_commit")?));
    let needed = config.pipeline.iter().map(|pipeline| pipeline.concurrency.max).sum::<usize>() + CONNECTIONS_BESIDE;
    let connections: i32 = row.try_get("max_connections")?;
    if usize::try_from(connections).unwrap_or(0) < needed {
        let mend = format!("ALTER SYSTEM SET max_connections = {}, and restart", needed * 2);
        checks.push(Check::bad("connections", format!("{connections} allowed, about {needed} needed"), mend));
    }
    checks.push(skew(row.try_get("now_ms")?, clock));
    if !row.try_get::<bool, _>("may_create")? {
        let role = text("role_name")?;
        let database = text("database_name")?;
        let found = format!("role {role} may not make schemas in {database}");
        checks.push(Check::note(
            "privileges",
            found,
            format!("only needed to migrate: GRANT CREATE ON DATABASE {database} TO {role}"),
        ));
    }
    Ok(checks)
}

fn durability(fsync: &str, full_page_writes: &str, synchronous_commit: &str) -> Check {
    let name = "durability";
    let found = format!("fsync {fsync}, full_page_writes {full_page_writes}, synchronous_commit {synchronous_commit}");
    if fsync != "on" {
        return Check::bad(
            name,
            found,
            "a power cut can ruin the database: ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf()",
        );
    }
    if full_page_writes != "on" {
        return Check::note(
            name,
            found,
            "right only where the disk writes whole pages: ALTER SYSTEM SET full_page_writes = on",
        );
    }
    if synchronous_commit == "off" {
        return Check::note(name, found, "nothing: writers switch it on in each transaction");
    }
    Check::good(name, found)
}

/// The database's clock was read between two looks at ours.
fn skew(theirs_ms: i64, (before_ms, after_ms): (i64, i64)) -> Check {
    let skew_ms = if theirs_ms < before_ms { before_ms - theirs_ms } else { (theirs_ms - after_ms).max(0) };
    if skew_ms > SKEW_MS_MAX {
        let found = format!("this machine and the database differ by {:.1} s", skew_ms as f64 / 1000.0);
        Check::bad("clock", found, "synchronise both (chronyc makestep): freshness and event times are judged by them")
    } else {
        Check::good("clock", format!("agrees with the database to {} ms", skew_ms.max(after_ms - before_ms)))
    }
}

async fn schema(config: &Config, connection: &mut PgConnection) -> Check {
    let name = "schema";
    let pending = match migrate::pending(connection).await {
        Ok(pending) => pending,
        Err(error) => {
            // An account that may not even look.
            let mend = elsewhere::script(&config.postgres).unwrap_or_else(|| "millstream --version".to_owned());
            return Check::bad(name, format!("{error:#}"), mend);
        }
    };
    if !pending.is_empty() {
        let mend = "`millstream migrate` (`run` does so by itself; --dry-run prints the SQL)";
        return Check::note(name, format!("{} migrations are pending", pending.len()), mend);
    }
    Check::good(name, "up to date")
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn skew_is_what_lies_outside_of_the_question() {
        assert_eq!(skew(1_000, (900, 1_100)).state, State::Good);
        assert_eq!(skew(5_000, (900, 1_100)).state, State::Bad);
        assert_eq!(skew(0, (2_900, 3_000)).state, State::Bad);
    }
}
