//! How to connect to a server: its files are read anew for each connection, so a rotated password is used as soon as
//! it is there.

use std::io::ErrorKind;
use std::sync::Arc;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::settings::{Error, Postgres};
use crate::sqlstate::{Load, load};
use crate::{Connection, Verdict, verdict};

/// Makes connections to one server.
#[derive(Clone, Debug)]
pub struct Connector {
    to: To,
    application_name: Option<String>,
}

#[derive(Clone, Debug)]
enum To {
    /// Fixed options: of a private cluster or of a test.
    Fixed(Box<PgConnectOptions>),
    /// `url` or `url_file`.
    Url(Arc<Postgres>),
    /// `migrate_url`, where there is one.
    Migrate(Arc<Postgres>),
}

/// Why a connection failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting or its file is wrong.
    #[error(transparent)]
    Setting(#[from] Error),
    /// The server, or a host on the way to it, refused.
    #[error("{why}")]
    Refused {
        /// What is wrong and which setting fixes it.
        why: String,
        /// The driver's error.
        source: sqlx::Error,
    },
}

impl ConnectError {
    /// What has to happen next.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            // A file is just being replaced, or a person made a mistake.
            ConnectError::Setting(_) => Verdict::Alarm,
            ConnectError::Refused { source, .. } => verdict(source),
        }
    }

    /// What the error shows of the server's load, if anything.
    #[must_use]
    pub fn load(&self) -> Option<Load> {
        match self {
            ConnectError::Setting(_) => None,
            ConnectError::Refused { source, .. } => load(source),
        }
    }
}

impl From<PgConnectOptions> for Connector {
    fn from(options: PgConnectOptions) -> Connector {
        Connector { to: To::Fixed(Box::new(options)), application_name: None }
    }
}

impl Postgres {
    /// A connector for ordinary work.
    #[must_use]
    pub fn connector(&self) -> Connector {
        Connector { to: To::Url(Arc::new(self.clone())), application_name: None }
    }

    /// A connector for migrations and commands: each connection has a session of its own.
    #[must_use]
    pub fn migrate_connector(&self) -> Connector {
        Connector { to: To::Migrate(Arc::new(self.clone())), application_name: None }
    }
}

impl Connector {
    /// The same with another name in `pg_stat_activity`.
    #[must_use]
    pub fn application_name(mut self, name: &str) -> Connector {
        self.application_name = Some(name.to_owned());
        self
    }

    /// The options of the next connection. The driver logs none of its statements, not even slow ones: a statement may
    /// hold text of users, and the duration of a batch already shows a slow one.
    ///
    /// # Errors
    /// What is wrong with the settings, the files or the environment.
    pub fn options(&self) -> Result<PgConnectOptions, Error> {
        let options = match &self.to {
            To::Fixed(options) => PgConnectOptions::clone(options).disable_statement_logging(),
            To::Url(section) => section.connect_options()?,
            To::Migrate(section) => section.migrate_options()?,
        };
        Ok(match &self.application_name {
            Some(name) => options.application_name(name),
            None => options,
        })
    }

    /// Whether the options of the next connection may differ.
    #[must_use]
    pub fn reads_files(&self) -> bool {
        match &self.to {
            To::Fixed(_) => false,
            To::Url(section) | To::Migrate(section) => section.url_file.is_some() || section.password_file.is_some(),
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// The error names the setting to check.
    pub async fn connect(&self) -> Result<Connection, ConnectError> {
        let options = self.options()?;
        let connection = PgConnection::connect_with(&options).await.map_err(|source| self.refused(&options, source))?;
        Ok(match &self.to {
            To::Url(section) if section.pgbouncer => Connection::pooled(connection, section.set_local()),
            _ => connection.into(),
        })
    }

    /// A new connection with a session of its own.
    ///
    /// # Errors
    /// The error names the setting to check.
    pub async fn connect_direct(&self) -> Result<PgConnection, ConnectError> {
        self.connect().await.map(PgConnection::from)
    }

    fn refused(&self, options: &PgConnectOptions, source: sqlx::Error) -> ConnectError {
        let said = source.as_database_error();
        // PgBouncer has no code of its own for this, so its text is compared.
        let pooler = said.is_some_and(|said| {
            said.code().as_deref() == Some("08P01") && said.message().contains("unsupported startup parameter")
        });
        if pooler {
            let setting = if self.setting_names().0 == "postgres.migrate_url" { "migrate_url" } else { "url" };
            return Error::Pooler { setting, host: options.get_host().to_owned(), port: options.get_port() }.into();
        }
        ConnectError::Refused { why: self.why(options, &source), source }
    }

    /// Explains a refusal by the names of the configuration.
    fn why(&self, options: &PgConnectOptions, error: &sqlx::Error) -> String {
        let host = options.get_host();
        let port = options.get_port();
        let user = options.get_username();
        let server = match options.get_socket() {
            Some(socket) => format!("{}, port {port}", socket.display()),
            None => format!("{host}:{port}"),
        };
        let (address, password, tls) = self.setting_names();
        match error {
            sqlx::Error::Tls(_) => format!(
                "{tls}: {server} has no usable TLS: switch it on there (ssl = on), or name another server in {address}"
            ),
            // In this form the driver passes on errors of the TLS handshake.
            sqlx::Error::Io(io) if io.kind() == ErrorKind::InvalidData => {
                format!("{tls}: {}", certificate(io, &server, host, address))
            }
            sqlx::Error::Io(_) => format!("{address}: no PostgreSQL answers at {server}"),
            sqlx::Error::Database(said) => match said.code().as_deref() {
                Some("28P01") => format!("{password}: {server} refuses the password of {user}"),
                Some("28000") => {
                    format!("{address}: {server} does not let {user} in from here like this (pg_hba.conf there)")
                }
                Some("3D000") => {
                    let database = options.get_database().unwrap_or(user);
                    format!("{address}: there is no database {database} at {server}")
                }
                _ => format!("{address}: {server} takes no connection of {user}"),
            },
            _ => format!("{address}: no connection to {server}"),
        }
    }

    /// The names of the settings for the address, the password and TLS.
    fn setting_names(&self) -> (&'static str, &'static str, &'static str) {
        let section = match &self.to {
            To::Fixed(_) => return ("postgres", "postgres", "postgres"),
            To::Url(section) | To::Migrate(section) => section,
        };
        let address = match (&self.to, &section.migrate_url, &section.url_file) {
            (To::Migrate(_), Some(_), _) => "postgres.migrate_url",
            (_, _, Some(_)) => "postgres.url_file",
            _ => "postgres.url",
        };
        let in_address = address == "postgres.migrate_url" && section.migrate_url_has_password();
        let password = if section.password_file.is_some() && !in_address { "postgres.password_file" } else { address };
        (address, password, if section.tls.is_some() { "postgres.tls" } else { address })
    }
}

/// What to do about a pooler that the settings do not mention.
pub const POOLER_MEND: &str = "set postgres.pgbouncer = true, and postgres.migrate_url to the server's own address";

/// What is wrong with the server's certificate.
#[cfg(feature = "tls")]
fn certificate(error: &std::io::Error, server: &str, host: &str, address: &str) -> String {
    use rustls::{CertificateError as C, Error as E};
    let said = error.get_ref().and_then(|inner| inner.downcast_ref::<E>());
    match said {
        Some(E::InvalidCertificate(C::UnknownIssuer | C::BadSignature)) => {
            format!("no authority of `ca`, nor of this system, has signed the certificate of {server}")
        }
        Some(E::InvalidCertificate(C::NotValidForName | C::NotValidForNameContext { .. })) => {
            format!("the certificate of {server} is for other names than {host}: use one of those in {address}")
        }
        Some(E::InvalidCertificate(C::Expired | C::ExpiredContext { .. })) => {
            format!("the certificate of {server} has expired")
        }
        _ => format!("TLS with {server} failed"),
    }
}

#[cfg(not(feature = "tls"))]
fn certificate(_: &std::io::Error, server: &str, _: &str, _: &str) -> String {
    format!("TLS with {server} failed")
}
