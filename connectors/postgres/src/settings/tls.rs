//! How the server's identity is verified.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

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
    /// Encryption with any server that answers.
    Require,
    /// Encryption; the server must have a certificate of the authority.
    VerifyCa,
    /// Encryption; the server must have a certificate of the authority for its name.
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
    /// Sets the driver's TLS options. A socket needs `disable`: unlike libpq, the driver would use TLS there, too.
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
