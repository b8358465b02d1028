//! The `[postgres]` section: the server, how to reach it, and which values are refused.
//!
//! Beyond this machine the certificate of the server and its name are verified, unless `insecure = true` is set. The
//! PG* variables of the environment are overruled; those that cannot be overruled are refused by name. Files are read
//! at every call, so the next connection uses a rotated password.

mod address;

mod error;

mod policy;

mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::ClusterOptions;
use address::Address;
pub use error::Error;
pub use tls::{Tls, TlsMode};

/// A secret file holds one line; a longer file is another one.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// `statement_timeout` and `lock_timeout` are 32-bit numbers of milliseconds in PostgreSQL.
const TIMEOUT_MS_MAX: u32 = i32::MAX.cast_unsigned();
/// A statement of a writer takes some 100 ms; after this time it is cancelled and its batch is divided. Longer: a slow
/// record delays its neighbours longer. More than `limits.stall_seconds`: the watchdog takes it for a stall.
const STATEMENT_TIMEOUT_MS: u32 = 20_000;
/// Writers lock rows for the length of a transaction. Shorter: a checkpoint on a slow disk looks like an abandoned
/// lock. Longer: an abandoned lock blocks the partitions of other writers longer.
const LOCK_TIMEOUT_MS: u32 = 5_000;

/// The default port of PgBouncer.
const POOLER_PORT: u16 = 6432;

/// The `[postgres]` section. Without `url` and `url_file`, a private cluster. Since 0.1.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Postgres {
    /// `postgres://user:password@host:port/database`. Default: none.
    pub url: Option<Secret>,
    /// A file that holds the url. Default: none.
    pub url_file: Option<PathBuf>,
    /// Run a private cluster under the data directory. Default: true without a url.
    pub embedded: Option<bool>,
    /// Opens the private cluster on this TCP port of 127.0.0.1, with a password. Default: none.
    pub pg_port: Option<u16>,
    /// Settings of the private cluster's server. Default: none.
    pub settings: BTreeMap<String, String>,
    /// Default: `verify-full`, and `disable` on this machine.
    pub tls: Option<Tls>,
    /// Allows less than `verify-full` beyond this machine; the mode is then `prefer` if none is given. Default: false.
    pub insecure: bool,
    /// A file that holds the password. Default: none.
    pub password_file: Option<PathBuf>,
    /// A direct address for migrations and commands, of the account that owns the tables. Default: `url`.
    pub migrate_url: Option<Secret>,
    /// Who creates the account of `url` and grants its privileges. Default: `create`.
    pub roles: Roles,
    /// Who brings the tables up to date. Default: `run`.
    pub migrate: Migrate,
    /// `url` is a PgBouncer in transaction mode: unnamed statements, no session state. Default: false.
    pub pgbouncer: bool,
    /// The pool of connections for everything but the writers, which have their own.
    pub pool: Pool,
    /// Ends statements that take longer, in milliseconds. 0 means never. Default: the server's; for writers 20000 where
    /// the server has none.
    pub statement_timeout_ms: Option<u32>,
    /// Ends waits for a lock that take longer, in milliseconds. 0 means never. Default: the server's; for writers 5000
    /// where the server has none.
    pub lock_timeout_ms: Option<u32>,
    /// The name in `pg_stat_activity`. Default: `millstream`.
    pub application_name: Option<String>,
}

/// The `[postgres.pool]` section. Since 0.1.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// Maximum number of connections. Default: 8, so that a few processes stay well below PostgreSQL's usual 100.
    pub connections_max: NonZeroU32,
    /// Timeout for getting a connection, in milliseconds. Default: 5000; a pool hides a dead server as long as this.
    pub acquire_timeout_ms: u32,
}

/// Who creates accounts and grants privileges. Since 0.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Roles {
    /// Millstream, as the account of `migrate_url`.
    #[default]
    Create,
    /// A person, before millstream starts: it only prints what is needed, and creates and grants nothing.
    Existing,
}

/// Who brings the tables up to date. Since 0.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Migrate {
    /// `millstream run`, when it starts.
    #[default]
    Run,
    /// A person, with `millstream migrate`: `run` refuses tables that are not up to date and lists the steps.
    Never,
}

/// A text with a password in it. It is never shown.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// Writes a placeholder instead of the text.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl Postgres {
    /// Whether millstream runs its own cluster.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.embedded.unwrap_or(self.url.is_none() && self.url_file.is_none())
    }

    /// Whether the address names a server on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let address = self.address().ok().and_then(|(_, url)| Address::parse(&url).ok());
        address.is_none_or(|address| address.is_local())
    }

    /// Whether `url` names the usual port of PgBouncer without `pgbouncer`. It may be another program, or a PgBouncer
    /// that keeps sessions apart.
    #[must_use]
    pub fn may_be_pooler(&self) -> bool {
        let port = self.url.as_ref().and_then(|url| Address::parse(&url.0).ok()).map(|address| address.port);
        !self.pgbouncer && port == Some(POOLER_PORT)
    }

    /// Settings with which a power cut can destroy the private cluster.
    #[must_use]
    pub fn unsafe_settings(&self) -> Vec<&str> {
        let off =
            |value: &str| matches!(value.trim().to_ascii_lowercase().as_str(), "off" | "of" | "false" | "no" | "0");
        let unsafe_ones = self.settings.iter().filter(|(name, value)| {
            matches!(name.to_ascii_lowercase().as_str(), "fsync" | "full_page_writes") && off(value)
        });
        unsafe_ones.map(|(name, _)| name.as_str()).collect()
    }

    /// Checks for settings that exclude each other, without reading files or asking servers.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check(&self) -> Result<(), Error> {
        self.exclusions()?;
        for (setting, timeout) in
            [("statement_timeout_ms", self.statement_timeout_ms), ("lock_timeout_ms", self.lock_timeout_ms)]
        {
            if timeout.is_some_and(|timeout| timeout > TIMEOUT_MS_MAX) {
                return Err(Error::Value { setting, why: "at most 2147483647 ms (24 days)" });
            }
        }
        if self.pgbouncer && self.migrate_url.is_none() {
            return Err(Error::NoDirect);
        }
        if self.pg_port == Some(0) {
            return Err(Error::Value { setting: "pg_port", why: "PostgreSQL cannot choose a port: name one" });
        }
        for (setting, url) in [("url", &self.url), ("migrate_url", &self.migrate_url)] {
            if let Some(url) = url {
                self.options_of(setting, &url.0, None)?;
            }
        }
        Ok(())
    }

    /// The private cluster that the section asks for.
    ///
    /// # Errors
    /// As [`check`](Postgres::check).
    pub fn cluster_options(&self, home: &Path) -> Result<ClusterOptions, Error> {
        self.check()?;
        let settings = self.settings.iter().map(|(name, value)| (name.clone(), value.clone()));
        let timeouts = self.timeouts().map(|(name, ms)| (name.to_owned(), format!("{ms}ms")));
        Ok(ClusterOptions {
            home: home.to_owned(),
            pg_port: self.pg_port,
            settings: timeouts.chain(settings).collect(),
            durable: true,
        })
    }

    /// How to connect to the server that the section names.
    ///
    /// # Errors
    /// [`Error::Embedded`] for a private cluster; else what is wrong with the settings, files or environment.
    pub fn connect_options(&self) -> Result<PgConnectOptions, Error> {
        let (setting, url) = self.address()?;
        self.connect(setting, &url, self.pgbouncer)
    }

    /// How to connect for migrations: to `migrate_url` if there is one, then always as a direct connection.
    ///
    /// # Errors
    /// As [`connect_options`](Postgres::connect_options).
    pub fn migrate_options(&self) -> Result<PgConnectOptions, Error> {
        match &self.migrate_url {
            Some(url) => self.connect("migrate_url", &url.0, false),
            None => self.connect_options(),
        }
    }

    /// The pool for everything but the writers. The caller gives it the connect options when it connects.
    #[must_use]
    pub fn pool_options(&self) -> PgPoolOptions {
        PgPoolOptions::new()
            .max_connections(self.pool.connections_max.get())
            .acquire_timeout(Duration::from_millis(self.pool.acquire_timeout_ms.into()))
            // The test would cost a round trip per use; a dead connection fails its statement, which is retried anyway.
            .test_before_acquire(false)
    }

    /// The statements that each transaction of a writer begins with: the timeouts of this section, which a session
    /// behind a pooler does not keep. If neither the section nor the server sets a timeout, our default.
    #[must_use]
    pub fn set_local(&self) -> String {
        self.limits_of_time(true)
    }

    /// The same for a direct session.
    #[must_use]
    pub fn set_session(&self) -> String {
        self.limits_of_time(false)
    }

    fn limits_of_time(&self, local: bool) -> String {
        let scope = if local { "LOCAL" } else { "SESSION" };
        let chosen = [
            ("statement_timeout", self.statement_timeout_ms, STATEMENT_TIMEOUT_MS),
            ("lock_timeout", self.lock_timeout_ms, LOCK_TIMEOUT_MS),
        ];
        let statements = chosen.map(|(name, chosen, ours)| match chosen {
            Some(ms) => format!("SET {scope} {name} = {ms}"),
            None => format!("SELECT set_config('{name}', '{ours}ms', {local}) WHERE current_setting('{name}') = '0'"),
        });
        statements.join("; ")
    }

    /// Whether `migrate_url` brings a password of its own; `password_file` is that of `url` then.
    pub(crate) fn migrate_url_has_password(&self) -> bool {
        let parsed = self.migrate_url.as_ref().and_then(|url| Address::parse(&url.0).ok());
        parsed.is_some_and(|address| address.password.is_some())
    }

    fn timeouts(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let timeouts = [("statement_timeout", self.statement_timeout_ms), ("lock_timeout", self.lock_timeout_ms)];
        timeouts.into_iter().filter_map(|(name, timeout)| Some((name, timeout?)))
    }

    fn exclusions(&self) -> Result<(), Error> {
        let both = |one, other, why| Err(Error::Both { one, other, why });
        if self.url.is_some() && self.url_file.is_some() {
            return both("url", "url_file", "each names the server");
        }
        if !self.is_embedded() {
            return match (self.url.is_some() || self.url_file.is_some(), self.pg_port, self.settings.is_empty()) {
                (false, _, _) => Err(Error::NoServer),
                (_, Some(_), _) => both("url", "pg_port", "the port of another server is part of its url"),
                (_, _, false) => both("url", "settings", "the settings of another server are made there"),
                _ => Ok(()),
            };
        }
        let why = "a private cluster is reached over its own socket";
        for (set, other) in [
            (self.url.is_some(), "url"),
            (self.url_file.is_some(), "url_file"),
            (self.tls.is_some(), "tls"),
            (self.insecure, "insecure"),
            (self.password_file.is_some(), "password_file"),
            (self.migrate_url.is_some(), "migrate_url"),
            (self.pgbouncer, "pgbouncer"),
            (self.roles == Roles::Existing, "roles"),
        ] {
            if set {
                return both("embedded", other, why);
            }
        }
        Ok(())
    }

    fn address(&self) -> Result<(&'static str, String), Error> {
        self.exclusions()?;
        match (&self.url, &self.url_file) {
            (Some(url), _) => Ok(("url", url.0.clone())),
            (None, Some(path)) => Ok(("url_file", secret("url_file", path)?)),
            (None, None) => Err(Error::Embedded),
        }
    }

    fn connect(&self, setting: &'static str, url: &str, pgbouncer: bool) -> Result<PgConnectOptions, Error> {
        self.check()?;
        let password = match &self.password_file {
            Some(_) if setting == "migrate_url" && self.migrate_url_has_password() => None,
            Some(path) => Some(secret("password_file", path)?),
            None => None,
        };
        let options = self.options_of(setting, url, password)?;
        // A pooler refuses parameters at the start of a session that it does not track, and from PostgreSQL 12 on
        // numbers are exact without this one.
        let options = options.extra_float_digits(None);
        if pgbouncer {
            // See `Connection`, which sends statements without a name.
            return Ok(options.statement_cache_capacity(0));
        }
        let mut timeouts = self.timeouts().map(|(name, ms)| (name, format!("{ms}ms"))).peekable();
        // Without timeouts the option is left out, because a pooler refuses even an empty list.
        Ok(if timeouts.peek().is_none() { options } else { options.options(timeouts) })
    }

    /// The options of one address. Reads no file but the certificate's name, and nothing of the environment.
    fn options_of(
        &self,
        setting: &'static str,
        url: &str,
        password: Option<String>,
    ) -> Result<PgConnectOptions, Error> {
        let address = Address::parse(url).map_err(|why| Error::Address { setting, why })?;
        // That of `migrate_url` may be another account's.
        if address.password.is_some() && self.password_file.is_some() && setting != "migrate_url" {
            let why = "each gives the password";
            return Err(Error::Both { one: setting, other: "password_file", why });
        }
        if address.tls.is_some() && self.tls.is_some() {
            return Err(Error::Both { one: setting, other: "tls", why: "each says how to use TLS" });
        }
        let tls = policy::choose(&address, self.tls.as_ref(), self.insecure)?;
        policy::environment(&tls)?;
        let name = self.application_name.as_ref().or(address.application_name.as_ref());
        let options = address.options().application_name(name.map_or("millstream", String::as_str));
        // Set even if it is empty, because otherwise the driver would take PGPASSWORD.
        let options = options.password(password.or(address.password).as_deref().unwrap_or_default());
        Ok(tls.apply(options))
    }
}

impl Default for Pool {
    fn default() -> Pool {
        Pool { connections_max: NonZeroU32::new(8).unwrap_or(NonZeroU32::MIN), acquire_timeout_ms: 5000 }
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Secret {
        Secret(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// The first line of a file, without the line feed that editors add.
fn secret(setting: &'static str, path: &Path) -> Result<String, Error> {
    use std::io::Read;
    let read = || {
        let mut text = String::new();
        std::fs::File::open(path)?.take(SECRET_BYTES_MAX).read_to_string(&mut text)?;
        std::io::Result::Ok(text)
    };
    let text = read().map_err(|source| Error::File { setting, path: path.to_owned(), source })?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(Error::Value { setting, why: "the file is empty" }),
    }
}

#[cfg(test)]
mod tests;
