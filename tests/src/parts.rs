//! The real services that tests run against, each started by its script in `tests/harness/parts`.
//!
//! A script that holds the service watches its standard input: when the tests end, however they end, it stops the
//! service and removes its data. Where a service cannot be had on this machine, its constructor says `skipped: ...` and
//! gives `None`; with `MILLSTREAM_REQUIRE_SERVICES=1` it panics.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

mod aws;
mod kafka;
mod topics;

pub use aws::{Account, ElasticMq, Kinesalite, KinesisLocal, Ministack, StandIn};
pub use kafka::{Kafka, Kafka3, PASSWORD, USER};
pub use topics::{Record, Topics};

/// The kernel takes a process away at once, or is busy with its memory.
const GONE_WITHIN: Duration = Duration::from_secs(60);
/// Of a log, what a failed test shows.
const LINES_SHOWN: usize = 30;

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name that no other test has: of a topic, a queue, a stream, a bucket or a group.
pub fn unique(name: &str) -> String {
    format!("{name}-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed))
}

/// The path of a script of the harness.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("harness/parts").join(name)
}

/// Runs a script of the harness to its end; what it says on its standard output.
///
/// # Errors
/// What it says on its standard error, where it fails.
///
/// # Panics
/// If it cannot be started.
pub async fn run(name: &'static str, arguments: &[&str]) -> Result<String, String> {
    run_with(name, arguments, &[]).await
}

/// Variables for a script, as name and value; each script says which it knows.
pub type Variables = &'static [(&'static str, &'static str)];

async fn run_with(name: &'static str, arguments: &[&str], variables: Variables) -> Result<String, String> {
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let mut command = Command::new(script(name));
    command.args(arguments).envs(variables.iter().copied());
    let output =
        tokio::task::spawn_blocking(move || command.output()).await.expect("run a script").expect("start a script");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// A service that a script holds for us. Stopped, and its data removed, when this is dropped or the tests end.
#[derive(Debug)]
pub struct Part {
    script: &'static str,
    variables: Variables,
    directory: PathBuf,
    address: String,
    holder: Child,
    /// Closed, it tells the holder to stop the service.
    lease: Option<ChildStdin>,
}

impl Part {
    /// Starts a service; `variables` are for its script. `None` where it cannot be had.
    ///
    /// # Panics
    /// If it can be had and does not start, or has to be had.
    pub async fn start(script: &'static str, variables: Variables) -> Option<Part> {
        if let Err(missing) = run(script, &["fetch"]).await {
            let required = std::env::var_os("MILLSTREAM_REQUIRE_SERVICES").is_some_and(|value| value == "1");
            assert!(!required, "MILLSTREAM_REQUIRE_SERVICES=1, and {missing}");
            println!("skipped: {missing}");
            return None;
        }
        let started = tokio::task::spawn_blocking(move || hold(script, variables));
        Some(started.await.expect("start a service; see above"))
    }

    /// Where it answers: `HOST:PORT` of a broker, with commas between several; the URL of a stand-in.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The directory with its data, `log` and `pid`.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its process.
    pub fn process(&self) -> Process {
        Process { directory: self.directory.clone() }
    }

    /// Starts it again where it does not run, with its data and on its port; returns when it answers.
    ///
    /// # Panics
    /// If it does not.
    pub async fn restart(&self) {
        let directory = self.directory.to_str().expect("a path of text");
        run_with(self.script, &["start", directory], self.variables).await.expect("start it again");
    }

    /// Asks it to stop, as its operator would; returns when it has.
    ///
    /// # Panics
    /// If it does not.
    pub async fn stop(&self) {
        let directory = self.directory.to_str().expect("a path of text");
        run(self.script, &["stop", directory]).await.expect("stop it");
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // Of several nodes, each has a directory of its own.
            let nodes = ["", "1", "2", "3"].map(|node| self.directory.join(node));
            for directory in nodes.into_iter().filter(|directory| directory.join("log").exists()) {
                let process = Process { directory };
                println!("the end of the log of {}:\n{}", process.directory.display(), process.log());
            }
        }
        drop(self.lease.take());
        self.holder.wait().ok();
    }
}

fn hold(script: &'static str, variables: Variables) -> Part {
    let directory = crate::scratch().keep();
    let mut command = Command::new(self::script(script));
    command.arg("hold").arg(&directory).envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // Out of reach of Ctrl-C and of `timeout`, which signal the whole group: it has to outlive us to clear up.
    command.process_group(0);
    let mut holder = command.spawn().expect("start the holder of a service");
    let mut address = String::new();
    let output = holder.stdout.take().expect("piped above");
    BufReader::new(output).read_line(&mut address).expect("read what the holder says");
    let address = address.trim_end().to_owned();
    assert!(!address.is_empty(), "{script} did not start; see above");
    println!("part: {script} at {address} in {}", directory.display());
    let lease = holder.stdin.take();
    Part { script, variables, directory, address, holder, lease }
}

/// The process that runs in a directory: whichever was started there last.
#[derive(Clone, Debug)]
pub struct Process {
    directory: PathBuf,
}

impl Process {
    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        let pid = std::fs::read_to_string(self.directory.join("pid")).ok()?;
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw)?;
        // Neither a process that waits to be collected nor another one with its number says this of itself.
        let mut environment = Vec::new();
        let mut file = std::fs::File::open(format!("/proc/{pid}/environ")).ok()?;
        file.read_to_end(&mut environment).ok()?;
        let mark = format!("MILLSTREAM_PART={}", self.directory.display());
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes()).then_some(pid)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If it does not run.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid().expect("it does not run"), signal).expect("send a signal");
    }

    /// Gone at once (SIGKILL).
    ///
    /// # Panics
    /// If it does not run, or stays.
    pub fn kill(&self) {
        let pid = self.pid().expect("it does not run");
        self.signal(Signal::KILL);
        let began = Instant::now();
        while !ended(pid) {
            assert!(began.elapsed() < GONE_WITHIN, "killed, and still there");
            std::thread::yield_now();
        }
    }

    /// Stands still (SIGSTOP) until [`Process::thaw`]: its connections stay open, and nothing answers.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on (SIGCONT).
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// The end of what it logged since its last start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.directory.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(LINES_SHOWN);
        lines.get(from..).unwrap_or_default().join("\n")
    }
}

/// Whether a process is gone, or only waits to be collected: while one of its threads is left, its ports are taken.
fn ended(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    threads <= 1 && state.is_none_or(|state| state.trim_start().starts_with(['Z', 'X']))
}
