//! The directory that holds everything: `data` (the cluster), `run` (the socket), `log`, `password`, three lock files.
//!
//! - `users.lock` is held shared by every process that uses the cluster, for as long as it does.
//! - `start.lock` lets one process at a time start or stop the server.
//! - `server.lock` is held by the processes of the server itself, as their standard output.
//!
//! The kernel frees all three however their holders end, in any container, and without pids: pids are used again,
//! zombies keep them, and other namespaces do not see them.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::name::NAME;
use super::owner::Owner;
use super::trust::Trust;
use crate::Error;
use crate::error::Doing;

/// `sockaddr_un` holds 104 bytes on macOS and 108 on Linux, with the final NUL.
const SOCKET_BYTES_MAX: usize = 103;
/// The longest name of a socket file.
const SOCKET_FILE: &str = "/.s.PGSQL.65535";
/// A process that starts the server holds `start.lock` for a minute at most; a longer wait means that it hangs.
const TURN_WITHIN: Duration = Duration::from_secs(90);
/// Short beside the 20 ms of attaching; a wait of one second is then 100 system calls.
const TURN_POLL: Duration = Duration::from_millis(10);

#[derive(Clone, Debug)]
pub(crate) struct Home {
    dir: PathBuf,
}

impl Home {
    /// Creates the directory if it is missing. No other account can list it; the account that PostgreSQL runs as, if it
    /// is not ours, can pass through it.
    pub(crate) fn open(dir: &Path) -> Result<Home, Error> {
        let trust = Trust::here();
        trust.directory(dir)?;
        if !dir.exists() {
            let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
            let made = DirBuilder::new().recursive(true).mode(mode).create(dir);
            // The mode is set again, because root's umask may be 077.
            let made = made.and_then(|()| fs::set_permissions(dir, fs::Permissions::from_mode(mode)));
            made.doing(|| format!("make {}", dir.display()))?;
        }
        let dir = dir.canonicalize().doing(|| format!("find {}", dir.display()))?;
        let home = Home { dir };
        for part in [home.data(), home.dir.join("run"), home.log(), home.password(), home.fetched()] {
            trust.part(&part)?;
        }
        Ok(home)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    pub(crate) fn server_lock(&self) -> PathBuf {
        self.dir.join("server.lock")
    }

    /// Versions of PostgreSQL that were fetched.
    pub(crate) fn fetched(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(crate) fn users(&self) -> Result<File, Error> {
        self.file(&self.dir.join("users.lock"))
    }

    /// `run`, or a directory in /tmp where that path is too long for a socket. The inode names it because two
    /// programs of different versions must agree on it.
    pub(crate) fn run(&self, owner: &Owner) -> PathBuf {
        let run = self.dir.join("run");
        if run.as_os_str().len() + SOCKET_FILE.len() <= SOCKET_BYTES_MAX {
            return run;
        }
        let inode = fs::metadata(&self.dir).map_or(0, |there| there.ino());
        format!("/tmp/{NAME}-{}-{inode}", owner.uid).into()
    }

    /// Waits for the turn to start or stop the server. The turn ends when the file is dropped.
    pub(crate) async fn turn(&self) -> Result<File, Error> {
        let began = Instant::now();
        loop {
            if let Some(turn) = self.turn_now()? {
                return Ok(turn);
            }
            if began.elapsed() > TURN_WITHIN {
                return Err(Error::Busy { lock: self.dir.join("start.lock"), waited_s: TURN_WITHIN.as_secs() });
            }
            // Not a blocking lock on a thread: that could not be cancelled.
            tokio::time::sleep(TURN_POLL).await;
        }
    }

    /// As [`Home::turn`], for callers that cannot await: gives up after `within`.
    pub(crate) fn turn_blocking(&self, within: Duration) -> Option<File> {
        let began = Instant::now();
        loop {
            match self.turn_now() {
                Ok(None) if began.elapsed() < within => std::thread::sleep(TURN_POLL),
                turn => return turn.ok().flatten(),
            }
        }
    }

    fn turn_now(&self) -> Result<Option<File>, Error> {
        self.try_lock(&self.dir.join("start.lock"))
    }

    /// `server.lock`, if no process of a server holds it: it is free once the last of them has ended.
    pub(crate) fn unused(&self) -> Result<Option<File>, Error> {
        self.try_lock(&self.server_lock())
    }

    /// Opens or creates a file of ours to append to. No other account can read it, since a reader could lock it.
    pub(crate) fn file(&self, path: &Path) -> Result<File, Error> {
        let mut how = File::options();
        how.append(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let open = || match how.open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let file = how.clone().create(true).open(path)?;
                // Root created it in the directory of another account, whose programs use it, too.
                let home = fs::metadata(&self.dir)?;
                if file.metadata()?.uid() == 0 && home.uid() != 0 {
                    fchown(&file, Some(home.uid()), Some(home.gid()))?;
                }
                Ok(file)
            }
            opened => opened,
        };
        open().doing(|| format!("open {}", path.display()))
    }

    fn try_lock(&self, path: &Path) -> Result<Option<File>, Error> {
        let file = self.file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(Error::Io { doing: format!("lock {}", path.display()), source }),
        }
    }
}
