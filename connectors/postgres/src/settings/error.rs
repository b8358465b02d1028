//! The errors of the `[postgres]` section.

use std::path::PathBuf;

use super::tls::TlsMode;

/// Why the section cannot be used. The names are those of the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Two settings exclude each other.
    #[error("postgres.{one} and postgres.{other} exclude each other: {why}")]
    Both {
        /// A setting.
        one: &'static str,
        /// The other.
        other: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// Neither a server nor a private cluster.
    #[error("postgres.embedded is false, and neither postgres.url nor postgres.url_file names a server")]
    NoServer,
    /// The section asks for a private cluster, which has no address of its own to configure.
    #[error("this [postgres] section is for a private cluster, which Cluster::open connects to")]
    Embedded,
    /// A pooler is set, but no direct address.
    #[error(
        "postgres.pgbouncer needs postgres.migrate_url: migrations and commands need a session of their own \
         (the server's own address, or a PgBouncer database with pool_mode = session)"
    )]
    NoDirect,
    /// A pooler that the settings do not mention, or one where a direct session is needed.
    #[error(
        "postgres.{setting}: {host}:{port} is a pooler that shares server connections between transactions \
         (PgBouncer with pool_mode = transaction): {}",
        if *setting == "url" { crate::POOLER_MEND } else { "give the server's own address" }
    )]
    Pooler {
        /// `url` or `migrate_url`.
        setting: &'static str,
        /// The host of the pooler.
        host: String,
        /// Its port.
        port: u16,
    },
    /// An address cannot be used.
    #[error("postgres.{setting}: {why}")]
    Address {
        /// `url`, `url_file` or `migrate_url`.
        setting: &'static str,
        /// The reason, without the password.
        why: String,
    },
    /// A connection beyond this machine could be read or taken over by others.
    #[error(
        "{host} is not this machine, and tls mode `{mode}` does not verify it: set postgres.tls = {{ mode = \"verify-full\" }}, \
         or accept the risk with postgres.insecure = true"
    )]
    Insecure {
        /// The server.
        host: String,
        /// The requested mode.
        mode: TlsMode,
    },
    /// This program was built without TLS.
    #[error(
        "{host} needs TLS (mode `{mode}`), and this program was built without it: build it with the cargo feature `tls`, which is on by default"
    )]
    NoTls {
        /// The server.
        host: String,
        /// The requested mode.
        mode: TlsMode,
    },
    /// A setting has a value that PostgreSQL does not take.
    #[error("postgres.{setting}: {why}")]
    Value {
        /// The setting.
        setting: &'static str,
        /// The reason.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("postgres.{setting}: cannot read {}", path.display())]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// An environment variable that the driver reads and that no option overrules.
    #[error(
        "the environment sets {name}, which would change every connection: start millstream without it (env -u {name} ..)"
    )]
    Environment {
        /// The variable.
        name: &'static str,
    },
}
