//! How far a server is trusted.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::Error;
use super::address::Address;

/// `[postgres.tls]`. Since 0.1.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// How much is verified.
    pub mode: TlsMode,
    /// A file of certificates (PEM) that may have signed the server's, beside those of the operating system. Default:
    /// none.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

/// The modes of libpq's `sslmode`, by the same names. `allow` is left out: it prefers no encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// No encryption.
    Disable,
    /// Encryption if the server offers it.
    Prefer,
    /// Encryption, with whoever answers.
    Require,
    /// Encryption, with a server that has a certificate of the authority.
    VerifyCa,
    /// Encryption, with a server that has a certificate of the authority for its name.
    VerifyFull,
}

impl TlsMode {
    const ALL: [TlsMode; 5] =
        [TlsMode::Disable, TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull];

    /// The mode of that name.
    pub(super) fn named(name: &str) -> Option<TlsMode> {
        TlsMode::ALL.into_iter().find(|mode| mode.to_string() == name)
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            TlsMode::Disable => "disable",
            TlsMode::Prefer => "prefer",
            TlsMode::Require => "require",
            TlsMode::VerifyCa => "verify-ca",
            TlsMode::VerifyFull => "verify-full",
        })
    }
}

impl Tls {
    /// The driver's words for it. A socket is given none at all: the driver, unlike libpq, would use TLS there too.
    pub(super) fn apply(&self, options: PgConnectOptions) -> PgConnectOptions {
        let options = options.ssl_mode(match self.mode {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Prefer => PgSslMode::Prefer,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
        });
        match &self.ca {
            Some(ca) => options.ssl_root_cert(ca),
            None => options,
        }
    }
}

/// What an address gets: what was asked for, if that is safe enough for where it is.
pub(super) fn choose(address: &Address, asked: Option<&Tls>, insecure: bool) -> Result<Tls, Error> {
    let asked = asked.or(address.tls.as_ref());
    let host = || address.host.clone();
    let local = address.is_local();
    let default = match (local, insecure) {
        (true, _) => TlsMode::Disable,
        (false, true) => TlsMode::Prefer,
        (false, false) => TlsMode::VerifyFull,
    };
    let mut tls = asked.cloned().unwrap_or(Tls { mode: default, ca: None });
    if address.is_socket() && tls.mode != TlsMode::Disable {
        let why = "a socket has no TLS: leave it out";
        return Err(Error::Value { setting: "tls", why });
    }
    if !local && !insecure && tls.mode != TlsMode::VerifyFull {
        return Err(Error::Insecure { host: host(), mode: tls.mode });
    }
    if let Some(ca) = &tls.ca {
        match tls.mode {
            TlsMode::VerifyCa | TlsMode::VerifyFull => {}
            _ => return Err(Error::Value { setting: "tls", why: "`ca` is used by verify-ca and verify-full alone" }),
        }
        // The driver would say only that TLS failed.
        if let Err(source) = std::fs::File::open(ca) {
            return Err(Error::File { setting: "tls", path: ca.clone(), source });
        }
    }
    if !cfg!(feature = "tls") {
        match tls.mode {
            TlsMode::Disable => {}
            TlsMode::Prefer => tls.mode = TlsMode::Disable,
            mode => return Err(Error::NoTls { host: host(), mode }),
        }
    }
    Ok(tls)
}

/// Refuses the variables that the driver reads and that no option takes back.
pub(super) fn environment(tls: &Tls) -> Result<(), Error> {
    refuse(tls, |name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

fn refuse(tls: &Tls, is_set: impl Fn(&str) -> bool) -> Result<(), Error> {
    let encrypted = tls.mode != TlsMode::Disable;
    for (matters, name) in [
        // It may hold `synchronous_commit=off`, and nobody would see why rows are lost.
        (true, "PGOPTIONS"),
        (encrypted && tls.ca.is_none(), "PGSSLROOTCERT"),
        (encrypted, "PGSSLCERT"),
        (encrypted, "PGSSLKEY"),
    ] {
        if matters && is_set(name) {
            return Err(Error::Environment { name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_is_refused_where_it_would_have_a_say() {
        let tls = |mode, ca: Option<&str>| Tls { mode, ca: ca.map(PathBuf::from) };
        let set = |set: &'static str| move |name: &str| name == set;
        assert!(refuse(&tls(TlsMode::Disable, None), set("PGOPTIONS")).is_err());
        assert!(refuse(&tls(TlsMode::Disable, None), set("PGSSLROOTCERT")).is_ok());
        assert!(refuse(&tls(TlsMode::VerifyFull, None), set("PGSSLROOTCERT")).is_err());
        assert!(refuse(&tls(TlsMode::VerifyFull, Some("/ca.pem")), set("PGSSLROOTCERT")).is_ok());
        assert!(refuse(&tls(TlsMode::VerifyFull, Some("/ca.pem")), set("PGSSLKEY")).is_err());
        // These are overruled by the options, so they need not be refused.
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGAPPNAME", "PGSSLMODE"] {
            assert!(refuse(&tls(TlsMode::VerifyFull, None), set(name)).is_ok(), "{name}");
        }
    }
}
