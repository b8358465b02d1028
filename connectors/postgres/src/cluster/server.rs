//! Starting the server process, and explaining why it did not start.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use super::binaries::Binaries;
use super::create;
use super::home::Home;
use super::options::ClusterOptions;
use super::owner::Owner;
use super::pid_file::PORT_NAMELESS;
use super::tuning::{self, Probed};
use crate::Error;
use crate::error::Doing;

/// A log beyond this is moved to `log.1` at the next start. Larger: hard to open. Smaller: loses a night of errors.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the log that an error shows.
const SAID_BYTES_MAX: u64 = 8 << 10;
/// Below this, parallel queries run out of shared memory. Docker gives 64 MB.
const SHARED_MEMORY_BYTES_MIN: u64 = 256 << 20;

/// A start of the server by this process.
#[derive(Debug)]
pub(crate) struct Started {
    /// Where the log ended before it.
    log_bytes: u64,
}

/// Starts the server, after making the cluster if it is not there. `lock` is `server.lock`.
///
/// The server is our direct child, without `pg_ctl` between: so we see a failure at once and reap the process. It does
/// not die with us (`PR_SET_PDEATHSIG` follows the thread that forked, and tokio retires threads).
pub(crate) async fn start(
    home: &Home,
    owner: &Owner,
    run: &Path,
    options: &ClusterOptions,
    lock: File,
) -> Result<(Child, Started), Error> {
    let data = home.data();
    let made = data.join("PG_VERSION");
    let major = fs::read_to_string(&made).ok().and_then(|text| text.trim().parse().ok());
    let found = Binaries::find(major, &home.fetched())?;
    tuning::ask(&found, &options.settings)?;
    owner.can_enter(home.dir())?;
    owner.can_enter(&found.dir)?;
    owner.private_dir(run)?;
    if !made.exists() {
        create::cluster(owner, &found, &data, options.durable).await?;
    }
    remove_left_over(&data, run);
    let (log, log_bytes) = open_log(home)?;
    let probed = probe(owner, &found, &data).await;

    let mut postgres = owner.command(&found.dir.join("postgres"));
    postgres.arg("-D").arg(&data).arg("-k").arg(run);
    postgres.args(["-p", &options.pg_port.unwrap_or(PORT_NAMELESS).to_string()]);
    let listen = if options.pg_port.is_some() { "listen_addresses=127.0.0.1" } else { "listen_addresses=" };
    postgres.args(tuning::arguments(&options.settings, options.durable, probed));
    postgres.args(["-c", listen, "-c", "logging_collector=off"]);
    // Every process of the server inherits the lock as its standard output, to which PostgreSQL writes nothing. The
    // log is no lock: when it is moved it would take the lock with it.
    // Its own process group: Ctrl-C in a terminal must reach us alone, and we drain first.
    let child = postgres.stdout(lock).stderr(log).process_group(0).spawn();
    let child = child.map_err(|source| owner.cannot_drop(source))?;
    tracing::info!(pid = child.id(), version = found.major, home = %home.dir().display(), "started PostgreSQL");
    Ok((child, Started { log_bytes }))
}

/// Why a server did not answer in time.
pub(crate) fn no_answer(
    home: &Home,
    options: &ClusterOptions,
    exit: Option<ExitStatus>,
    waited: Duration,
    started: Option<&Started>,
) -> Error {
    let said = log_since(home, started.map(|started| started.log_bytes));
    if let (Some(port), true) = (options.pg_port, said.contains("could not create any TCP/IP sockets")) {
        return Error::PortTaken { port };
    }
    let why = match (exit, started) {
        (Some(status), _) => status.to_string(),
        (None, Some(_)) => format!("waited {} s", waited.as_secs()),
        (None, None) => return Error::Held { lock: home.server_lock(), waited_s: waited.as_secs() },
    };
    Error::NoAnswer { why, log: home.log(), said }
}

/// Removes what a killed server left. If its pid is in use again, or it is a zombie that pid 1 never reaps,
/// PostgreSQL would refuse to start. The caller must hold `server.lock`.
fn remove_left_over(data: &Path, run: &Path) {
    fs::remove_file(data.join("postmaster.pid")).ok();
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".s.PGSQL.") {
            fs::remove_file(entry.path()).ok();
        }
    }
}

fn open_log(home: &Home) -> Result<(File, u64), Error> {
    let path = home.log();
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(&path, home.dir().join("log.1")).doing(|| format!("put aside {}", path.display()))?;
    }
    let log = home.file(&path)?;
    let bytes = log.metadata().map_or(0, |log| log.len());
    Ok((log, bytes))
}

/// The end of the log, from `since` if this process started the server.
fn log_since(home: &Home, since: Option<u64>) -> String {
    let read = || {
        let mut log = File::open(home.log())?;
        let bytes = log.metadata()?.len();
        let from = since.unwrap_or(0).max(bytes.saturating_sub(SAID_BYTES_MAX));
        log.seek(SeekFrom::Start(from))?;
        let mut said = Vec::new();
        log.take(SAID_BYTES_MAX).read_to_end(&mut said)?;
        std::io::Result::Ok(String::from_utf8_lossy(&said).trim_end().to_owned())
    };
    read().unwrap_or_default()
}

/// Asks the build and the machine instead of a table of versions: distributions build with and without LZ4.
async fn probe(owner: &Owner, found: &Binaries, data: &Path) -> Probed {
    let mut ask = owner.command(&found.dir.join("postgres"));
    ask.arg("-D").arg(data).args(["-c", "wal_compression=lz4", "-C", "wal_compression"]);
    let answer = tokio::process::Command::from(ask).kill_on_drop(true).output().await;
    Probed {
        lz4: answer.is_ok_and(|answer| answer.status.success()),
        syncfs: cfg!(target_os = "linux") && found.major >= 14,
        shared_memory_small: shared_memory_bytes().is_some_and(|bytes| bytes < SHARED_MEMORY_BYTES_MIN),
    }
}

fn shared_memory_bytes() -> Option<u64> {
    let there = rustix::fs::statvfs("/dev/shm").ok()?;
    Some(there.f_blocks.saturating_mul(there.f_frsize))
}
