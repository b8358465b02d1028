//! `postgres://user:password@host:port/database?parameters`, parsed here and not by the driver, which takes missing
//! parts from the environment and ignores unknown parameters.

use std::borrow::Cow;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use url::Url;

use super::tls::{Tls, TlsMode};

const PORT: u16 = 5432;

/// The parts of an address.
#[derive(Debug)]
pub(super) struct Address {
    /// A name, an IP address without brackets, or the directory of a socket.
    pub(super) host: String,
    pub(super) port: u16,
    user: String,
    pub(super) password: Option<String>,
    database: String,
    pub(super) tls: Option<Tls>,
    pub(super) application_name: Option<String>,
}

impl Address {
    /// Parses an address. The error explains what is wrong without repeating the text, which may hold a password.
    pub(super) fn parse(text: &str) -> Result<Address, String> {
        if text.contains('#') {
            return Err("a `#` in a user or password is written %23".to_owned());
        }
        let url = Url::parse(&with_host(text.trim())).map_err(|error| format!("not an address: {error}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err(format!("an address begins with postgres://, not {}://", url.scheme()));
        }
        let user = decoded("user", url.username())?;
        if user.is_empty() {
            return Err("names no user".to_owned());
        }
        let password = url.password().map(|word| decoded("password", word)).transpose()?;
        let database = decoded("database", url.path().trim_start_matches('/'))?;
        // As libpq does.
        let database = if database.is_empty() { user.clone() } else { database };
        let host = decoded("host", url.host_str().unwrap_or_default().trim_matches(['[', ']']))?;
        let mut address = Address {
            host: if host == "/" { String::new() } else { host },
            port: url.port().unwrap_or(PORT),
            user,
            password,
            database,
            tls: None,
            application_name: None,
        };
        address.parameters(&url)?;
        if address.host.is_empty() {
            return Err("names no host; a socket is ?host=/directory".to_owned());
        }
        if address.host.contains(',') {
            return Err("names several hosts: give the one of the writer".to_owned());
        }
        Ok(address)
    }

    /// The options for the driver, with every field set.
    pub(super) fn options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .database(&self.database)
            .disable_statement_logging();
        if self.is_socket() { options.socket(&self.host) } else { options }
    }

    pub(super) fn is_socket(&self) -> bool {
        Path::new(&self.host).is_absolute()
    }

    /// Whether the connection stays on this machine.
    pub(super) fn is_local(&self) -> bool {
        let loopback = |ip: IpAddr| ip.is_loopback();
        self.is_socket() || self.host == "localhost" || self.host.parse().is_ok_and(loopback)
    }

    fn parameters(&mut self, url: &Url) -> Result<(), String> {
        let mut mode = None;
        let mut ca = None;
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "host" if self.host.is_empty() => self.host = value.into_owned(),
                "host" => return Err("names its host twice".to_owned()),
                "sslmode" => match TlsMode::named(&value) {
                    Some(known) => mode = Some(known),
                    None => return Err("sslmode is disable, prefer, require, verify-ca or verify-full".to_owned()),
                },
                "sslrootcert" => ca = Some(PathBuf::from(value.as_ref())),
                "application_name" => self.application_name = Some(value.into_owned()),
                name => return Err(format!("the parameter `{name}` is not known here")),
            }
        }
        self.tls = match (mode, ca) {
            (Some(mode), ca) => Some(Tls { mode, ca }),
            (None, None) => None,
            (None, Some(_)) => return Err("sslrootcert needs sslmode=verify-full".to_owned()),
        };
        Ok(())
    }
}

/// Adds the host `/` to an address like `user@/database?host=/directory`, which leaves it out, as libpq allows and the
/// parser does not.
fn with_host(text: &str) -> Cow<'_, str> {
    let Some((scheme, rest)) = text.split_once("://") else { return text.into() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, more) = rest.split_at(end);
    if authority.ends_with('@') { format!("{scheme}://{authority}%2F{more}").into() } else { text.into() }
}

fn decoded(part: &str, text: &str) -> Result<String, String> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) if !text.contains('\0') => Ok(text.into_owned()),
        _ => Err(format!("the {part} is not text")),
    }
}
