//! A private PostgreSQL cluster, made and run from programs that the machine already has.
//!
//! Processes share one cluster: the first starts it, the last one to leave stops it. A killed process does not affect
//! the others: a server whose starter was killed goes on and is adopted, a killed server is started again, and
//! acknowledged data is on disk. A server is never stopped while another process uses it, and two servers never run on
//! one cluster, not even from two containers with one volume.
//!
//! The server listens on a socket in a directory that only its account enters, so there is no password to keep and no
//! port to choose. TCP, on loopback and with a password, is opened on request.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::Doing;
use crate::{Error, scram};

mod binaries;
pub use binaries::Binaries;

mod options;
pub use options::ClusterOptions;

mod name;

mod home;

mod owner;

mod trust;
pub use trust::Trust;

mod create;

mod server;

mod tuning;

mod session;

mod pid_file;

mod password;

use home::Home;
use name::NAME;
use owner::Owner;
use pid_file::PORT_NAMELESS;

/// Whether the account that a private cluster below `home` would run as can reach it.
///
/// # Errors
/// The directory that shuts it out; there need be no cluster yet, nor `home` itself.
pub fn reaches(home: &Path) -> Result<(), Error> {
    let made = home.ancestors().find_map(|dir| dir.canonicalize().ok());
    made.map_or(Ok(()), |dir| Owner::of(&home.join("data"))?.can_enter(&dir))
}

/// Timeout of a start, which took 5 s on a busy disk; recovery after a crash takes longer.
const START_WITHIN: Duration = Duration::from_secs(60);
/// Not shorter, because each poll of a starting server logs "the database system is starting up".
const START_POLL: Duration = Duration::from_millis(25);
/// A fast shutdown takes 25 to 100 ms, with a large checkpoint longer.
const STOP_POLL: Duration = Duration::from_millis(10);
/// How long `Drop`, which cannot be awaited, may hold up its thread.
const DROP_WITHIN: Duration = Duration::from_secs(2);

/// One process's use of the cluster. The server runs as long as a process has one of these.
pub struct Cluster {
    home: Home,
    owner: Owner,
    asked: ClusterOptions,
    /// Locked shared by every process that uses the cluster.
    users: File,
    /// The directory of the socket.
    run: PathBuf,
    /// The port in the name of the socket.
    port: u16,
    /// The server, if this process started it.
    child: Option<Child>,
    /// The server has what we need, as far as we know: it answered, and the database is there.
    prepared: bool,
    /// Closed, so that dropping has nothing left to do.
    closed: bool,
}

impl Cluster {
    /// Attaches to the cluster under `home`; starts it if it is not running, makes it if it is not there.
    ///
    /// # Errors
    /// What a person has to fix; see [`Error`]. It waits up to a minute for a server that is only slow.
    pub async fn open(options: &ClusterOptions) -> Result<Cluster, Error> {
        tuning::check(&options.settings)?;
        session::environment()?;
        let home = Home::open(&options.home)?;
        let owner = Owner::of(&home.data())?;
        let users = home.users()?;
        let run = home.run(&owner);
        let port = options.pg_port.unwrap_or(PORT_NAMELESS);
        let asked = options.clone();
        let mut cluster = Cluster { home, owner, asked, users, run, port, child: None, prepared: false, closed: false };
        cluster.ensure().await?;
        Ok(cluster)
    }

    /// Asks the server's program, if there is one, about settings, without making or starting anything.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::ServerSetting`].
    pub fn check_settings(options: &ClusterOptions) -> Result<(), Error> {
        tuning::check(&options.settings)?;
        let made = std::fs::read_to_string(options.home.join("data/PG_VERSION")).ok();
        let major = made.and_then(|text| text.trim().parse().ok());
        match Binaries::find(major, &options.home.join("postgres")) {
            Ok(found) => tuning::ask(&found, &options.settings),
            // The caller that needs a server reports that there is none.
            Err(_) => Ok(()),
        }
    }

    /// How to connect: the role and the database `millstream`, over the socket.
    #[must_use]
    pub fn options(&self) -> PgConnectOptions {
        // Every option is set, because the driver takes the others from the PG* variables: with PGSSLMODE=require,
        // which is for servers elsewhere, it would ask for TLS on a socket.
        PgConnectOptions::new_without_pgpass()
            .socket(&self.run)
            .port(self.port)
            .username(NAME)
            .database(NAME)
            .application_name(NAME)
            .ssl_mode(PgSslMode::Disable)
            .disable_statement_logging()
    }

    /// Returns once the server accepts connections, also if another process started it.
    ///
    /// Call it about every second: it starts a server that has died. Do not wait for failed statements, because a pool
    /// hides a dead server for as long as its `acquire_timeout`.
    ///
    /// # Errors
    /// As [`open`](Cluster::open). May be called again afterwards.
    pub async fn ensure(&mut self) -> Result<(), Error> {
        self.reap_dead();
        if self.prepared && session::answers(&self.options()).await? {
            return Ok(());
        }
        self.prepared = false;
        let _turn = self.home.turn().await?;
        self.users.lock_shared().doing(|| "lock users.lock".to_owned())?;
        let began = Instant::now();
        let mut started: Option<server::Started> = None;
        while !self.ready().await? {
            // A server that is starting, recovering or stopping needs time, not a second one beside it.
            if started.is_none()
                && let Some(lock) = self.home.unused()?
            {
                let (child, start) = server::start(&self.home, &self.owner, &self.run, &self.asked, lock).await?;
                // The lock is free, so the former server has ended or is about to.
                self.reap();
                self.child = Some(child);
                started = Some(start);
            }
            let exit = match self.child.as_mut().filter(|_| started.is_some()) {
                Some(child) => child.try_wait().doing(|| "wait for PostgreSQL".to_owned())?,
                None => None,
            };
            if exit.is_some() || began.elapsed() > START_WITHIN {
                return Err(server::no_answer(&self.home, &self.asked, exit, began.elapsed(), started.as_ref()));
            }
            tokio::time::sleep(START_POLL).await;
        }
        Ok(())
    }

    /// Leaves the cluster, and stops the server if no other process uses it. Returns whether it did.
    ///
    /// # Errors
    /// If the server cannot be signalled. It then runs on, and the next process adopts it.
    pub async fn close(mut self) -> Result<bool, Error> {
        let turn = self.home.turn().await?;
        self.closed = true;
        if !self.stop()? {
            return Ok(false);
        }
        while self.home.unused()?.is_none() {
            tokio::time::sleep(STOP_POLL).await;
        }
        self.reap();
        drop(turn);
        Ok(true)
    }

    /// The command that opens the database in a terminal, as one would paste it.
    #[must_use]
    pub fn psql_line(&self) -> String {
        format!("psql -h {} -p {} -U {NAME} {NAME}", shell_word(&self.run), self.port)
    }

    /// The address for programs that know only TCP, if `pg_port` was asked for. It holds the password.
    #[must_use]
    pub fn tcp_url(&self) -> Option<String> {
        let port = self.asked.pg_port?;
        let password = password::read(&self.home)?;
        Some(format!("postgres://{NAME}:{password}@127.0.0.1:{port}/{NAME}"))
    }

    /// The server's process id, for people only. None if no server runs or it is not visible from here.
    #[must_use]
    pub fn server_pid(&self) -> Option<u32> {
        let pid = pid_file::server(&self.home.data())?;
        u32::try_from(pid.as_raw_nonzero().get()).ok()
    }

    /// Whether the server takes connections and has what we need.
    async fn ready(&mut self) -> Result<bool, Error> {
        let data = self.home.data();
        self.port = pid_file::port(&data).or(self.asked.pg_port).unwrap_or(PORT_NAMELESS);
        let options = self.options();
        if !session::answers(&options).await? {
            return Ok(false);
        }
        if let Some(asked) = self.asked.pg_port
            && !(self.port == asked && pid_file::listens(&data))
        {
            return Err(Error::OtherPort { asked });
        }
        let verifier = match self.asked.pg_port {
            Some(_) => {
                let password = password::keep(&self.home, &self.owner)?;
                Some(scram::verifier(&password).doing(|| "read /dev/urandom".to_owned())?)
            }
            None => None,
        };
        self.prepared = session::prepare(&options, verifier.as_deref()).await?;
        Ok(self.prepared)
    }

    /// Stops the server if this process is its last user. The caller must hold the turn.
    fn stop(&mut self) -> Result<bool, Error> {
        self.users.unlock().doing(|| "unlock users.lock".to_owned())?;
        let last = self.users.try_lock().is_ok();
        if last && let Some(pid) = pid_file::server(&self.home.data()) {
            // A fast shutdown: ends the sessions and writes a checkpoint.
            kill_process(pid, Signal::INT)
                .map_err(|errno| Error::Io { doing: "stop PostgreSQL".to_owned(), source: errno.into() })?;
        }
        Ok(last)
    }

    /// Takes the exit status of our own server if it has died, even if another process starts the next one.
    fn reap_dead(&mut self) {
        if self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_)))) {
            self.child = None;
        }
    }

    /// Takes the exit status of our own server, which would stay a zombie otherwise.
    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().ok();
        }
    }
}

/// A process that ends in an error, or a test that panics, leaves no server behind either.
impl Drop for Cluster {
    fn drop(&mut self) {
        if self.closed {
            return;
        }
        // A process that holds the turn for long is opening, and so is a user; or closing, and sees that we have left.
        self.users.unlock().ok();
        let Some(_turn) = self.home.turn_blocking(DROP_WITHIN) else { return };
        let began = Instant::now();
        if !matches!(self.stop(), Ok(true)) {
            return;
        }
        while began.elapsed() < DROP_WITHIN {
            if matches!(self.home.unused(), Ok(Some(_))) {
                return self.reap();
            }
            std::thread::sleep(STOP_POLL);
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = formatter.debug_struct("Cluster");
        text.field("home", &self.home.dir()).field("socket_dir", &self.run).field("port", &self.port);
        text.finish_non_exhaustive()
    }
}

/// A path as a word for a POSIX shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::shell_word;
    use std::path::Path;

    #[test]
    fn a_directory_that_shuts_the_account_out_is_named_before_anything_is_made() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let reached = super::reaches(&place.path().join("not/there"));
        // Only root runs PostgreSQL under another account.
        if rustix::process::geteuid().is_root() {
            let place = place.path().canonicalize().unwrap();
            assert!(matches!(&reached, Err(crate::Error::ShutOut { dir, .. }) if *dir == place), "{reached:?}");
        } else {
            reached.unwrap();
        }
    }

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        assert_eq!(shell_word(Path::new("/var/lib/millstream/run")), "/var/lib/millstream/run");
        assert_eq!(shell_word(Path::new("/srv/my data")), "'/srv/my data'");
        assert_eq!(shell_word(Path::new("/srv/it's $HOME")), r"'/srv/it'\''s $HOME'");
    }
}
