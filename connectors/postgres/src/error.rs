//! The errors of a private cluster, in words for the person who has to fix them.

use std::io;
use std::path::PathBuf;

use crate::places::PLACES;

/// Why the private cluster cannot be used. An immediate retry fixes none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No `postgres` and `initdb` anywhere. The feature `fetch` can bring them.
    #[error(
        "this machine has no PostgreSQL server (looked in PATH, {}).\n\
         Do one of these:\n  \
         install one: apt-get install postgresql | dnf install postgresql-server | apk add postgresql | brew install postgresql@18\n  \
         name the directory of its programs: MILLSTREAM_PG_BIN=/path/to/bin\n  \
         use a server that runs elsewhere: --set postgres.url=postgres://user:password@host/database",
        PLACES.join(", ")
    )]
    NoServer,

    /// `MILLSTREAM_PG_BIN` names a directory without the programs, or with those of another major version.
    #[error("MILLSTREAM_PG_BIN={} holds no postgres, initdb{}", dir.display(), of_major(*.major))]
    NotInDirectory {
        /// The directory as it was given.
        dir: PathBuf,
        /// The major version that made the cluster, if there is one.
        major: Option<u32>,
    },

    /// The programs of the major version that made the cluster are gone. A cluster belongs to one major version.
    #[error(
        "PostgreSQL {made} made this cluster, and only PostgreSQL {here} is here ({}). \
         Install PostgreSQL {made} (apt.postgresql.org keeps every version): the data can then be moved to {here}, as \
         pipeline/docs/postgresql-major-version.md says",
        dir.display()
    )]
    OtherMajor {
        /// The version that made the cluster.
        made: u32,
        /// A version that is installed.
        here: u32,
        /// Where that version is.
        dir: PathBuf,
    },

    /// Another account owns the cluster; its owner never changes.
    #[error("{} belongs to user id {owner}, and this is user id {me}", data.display())]
    ForeignCluster {
        /// The cluster's directory.
        data: PathBuf,
        /// The owner's user id.
        owner: u32,
        /// Our effective user id.
        me: u32,
    },

    /// We are root and there is no account to change to.
    #[error(
        "PostgreSQL will not run as root, and this machine has no account `millstream`, `postgres` or `nobody` to run it as"
    )]
    NoAccount,

    /// We are root, but without the capabilities to change to another account.
    #[error(
        "PostgreSQL will not run as root, and this process may not change to user id {uid} \
         (a container without the capabilities chown, setuid, setgid?). Run millstream as a normal user"
    )]
    CannotDrop {
        /// The account that was chosen.
        uid: u32,
        /// The kernel's error.
        source: io::Error,
    },

    /// We are root, and the account that PostgreSQL runs as cannot reach its own files.
    #[error(
        "PostgreSQL will not run as root, so it runs as user id {uid}, which {} shuts out. \
         Choose a directory outside it (as root: /var/lib/millstream), let that account pass (chmod o+x {}), \
         or run millstream as a normal user",
        dir.display(),
        dir.display()
    )]
    ShutOut {
        /// The account that PostgreSQL runs as.
        uid: u32,
        /// The directory on the way that it cannot enter.
        dir: PathBuf,
    },

    /// The directory of the socket or the cluster exists, but other accounts can enter it or own it.
    #[error("{} is not a private directory of user id {uid}", dir.display())]
    NotPrivate {
        /// The directory.
        dir: PathBuf,
        /// Who should own it.
        uid: u32,
    },

    /// `initdb` failed.
    #[error("initdb failed:\n{said}{}", hint(said))]
    Initdb {
        /// Its standard error.
        said: String,
    },

    /// The server ended while starting, or did not take connections in time.
    #[error("PostgreSQL does not answer ({why}). {} says:\n{said}", log.display())]
    NoAnswer {
        /// The exit status, or how long we waited.
        why: String,
        /// The server's log.
        log: PathBuf,
        /// What the server wrote since this start.
        said: String,
    },

    /// `pg_port` is in use.
    #[error("port {port} of 127.0.0.1 is taken: choose another with --set postgres.pg_port=PORT, or leave it out")]
    PortTaken {
        /// The port that was asked for.
        port: u16,
    },

    /// Another process runs the server, without the port that this one asks for.
    #[error(
        "the private PostgreSQL is running already, without TCP port {asked}: \
         stop the process that started it, or leave out postgres.pg_port here"
    )]
    OtherPort {
        /// The port that was asked for.
        asked: u16,
    },

    /// A server setting that the cluster depends on, or whose name is no setting.
    #[error("the PostgreSQL setting `{name}` cannot be set here: {why}")]
    Setting {
        /// The setting's name as given.
        name: String,
        /// The reason.
        why: &'static str,
    },

    /// A server setting that the server refuses.
    #[error("PostgreSQL {major} refuses postgres.settings.{name} = {value:?}: {said}")]
    ServerSetting {
        /// The setting's name.
        name: String,
        /// Its value.
        value: String,
        /// The major version that was asked.
        major: u32,
        /// The server's message.
        said: String,
    },

    /// An environment variable that the driver reads and that no option overrules.
    #[error(
        "the environment sets {name}, which would change every connection: start millstream without it (env -u {name} ..)"
    )]
    Environment {
        /// The variable.
        name: &'static str,
    },

    /// Root met a directory, a file or a link of another account, which could make it read or overwrite anything.
    #[error(
        "{0} belongs to user id {owner}, and root opens only what is its own or belongs to millstream, postgres or nobody. \
         Run millstream as that user (setpriv --reuid {owner} --clear-groups millstream ..), or give it to root, \
         if you trust what is in it: chown -hR root {0}",
        path.display()
    )]
    NotTrusted {
        /// The path.
        path: PathBuf,
        /// The owner's user id.
        owner: u32,
    },

    /// A part of our directory is a link. Such a link is never followed.
    #[error(
        "{0} is a link, and no link inside a data directory is followed. \
         Move there what it leads to, or mount it there: mount --bind PLACE {0}",
        path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
    },

    /// A server runs that does not answer, or another process holds its lock.
    #[error(
        "something holds {0}, so no server was started beside it (waited {waited_s} s). `fuser {0}` names it; \
         if it names none, another container has this volume",
        lock.display()
    )]
    Held {
        /// The lock file.
        lock: PathBuf,
        /// How long we waited, in seconds.
        waited_s: u64,
    },

    /// Another process has been starting or stopping the cluster for too long.
    #[error("another process has held {0} for {waited_s} s: `fuser {0}` names it", lock.display())]
    Busy {
        /// The lock file.
        lock: PathBuf,
        /// How long we waited, in seconds.
        waited_s: u64,
    },

    /// The operating system refused.
    #[error("cannot {doing}")]
    Io {
        /// Verb and object.
        doing: String,
        /// Its error.
        source: io::Error,
    },

    /// The server answers, but refuses what each of our clusters must allow.
    #[error("the private PostgreSQL refused to {doing}")]
    Refused {
        /// Verb and object.
        doing: &'static str,
        /// Its error.
        source: sqlx::Error,
    },
}

/// Adds to an error what was being done when the operating system refused.
pub(crate) trait Doing<T> {
    /// `doing` is verb and object: "make /srv/data".
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::Io { doing: doing(), source })
    }
}

fn of_major(major: Option<u32>) -> String {
    major.map_or_else(String::new, |major| format!(" of PostgreSQL {major}, which made this cluster"))
}

/// initdb needs a line in /etc/passwd, which the random user ids of Kubernetes and OpenShift do not have.
fn hint(said: &str) -> &'static str {
    if said.contains("could not look up effective user ID") {
        "\nGive it a name, in a Dockerfile for instance: RUN useradd --uid ID millstream"
    } else {
        ""
    }
}
