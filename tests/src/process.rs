//! A real millstream process, to be asked, stopped, killed and started again.
//!
//! What it logs is kept. When it is finished with, every WARN and ERROR line that the test did not expect fails it.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};

use crate::client::{Http, Response};
use crate::database::{Database, program};
use crate::wait::until;

/// A start on two busy cores, with a cluster of its own to make.
const READY_WITHIN: Duration = Duration::from_secs(60);
const EXIT_WITHIN: Duration = Duration::from_secs(60);
const LINES_MAX: usize = 100_000;

/// How a millstream is started.
#[derive(Clone, Debug)]
pub struct Setup {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    allowed: Vec<String>,
    data_dir: PathBuf,
    scratch: Arc<tempfile::TempDir>,
}

impl Setup {
    /// On a test database, with a data directory of its own and any free port.
    pub fn new(database: &Database) -> Self {
        Setup::embedded().set(&format!("postgres.url={}", database.url()))
    }

    /// With a private cluster of its own under its data directory.
    pub fn embedded() -> Self {
        let scratch = Arc::new(crate::scratch());
        let setup = Setup {
            arguments: vec!["run".to_owned()],
            environment: Vec::new(),
            allowed: Vec::new(),
            data_dir: scratch.path().join("data"),
            scratch,
        };
        // No balancer is told of an end, but where a test asks for it.
        setup.set("http.listen=127.0.0.1:0").set("http.drain_notice_seconds=0")
    }

    /// Another command than `run`.
    #[must_use]
    pub fn command(mut self, name: &str) -> Self {
        self.arguments.splice(..1, [name.to_owned()]);
        self
    }

    /// Adds `--set section.key=value`.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.arguments.extend(["--set".to_owned(), setting.to_owned()]);
        self
    }

    /// In another data directory.
    #[must_use]
    pub fn at(mut self, data_dir: &Path) -> Self {
        data_dir.clone_into(&mut self.data_dir);
        self
    }

    /// Adds an argument as it is.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Adds a variable of the environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Expects WARN or ERROR lines that contain this text.
    #[must_use]
    pub fn allow(mut self, text: &str) -> Self {
        self.allowed.push(text.to_owned());
        self
    }

    /// The settings that were made, as `--set` takes them; without where it listens.
    pub fn settings(&self) -> Vec<String> {
        let settings = self.arguments.windows(2).filter(|pair| pair.first().is_some_and(|flag| flag == "--set"));
        let settings = settings.filter_map(|pair| pair.get(1)).filter(|setting| !setting.starts_with("http.listen="));
        settings.cloned().collect()
    }

    /// Where it keeps its data; the same for every start of this setup.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// A directory beside the data directory, for files of the test.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Starts a process without waiting for anything.
    ///
    /// # Panics
    /// If the program cannot be started.
    pub fn spawn(&self) -> Millstream {
        let mut command = Command::new(program());
        command.args(&self.arguments).arg("--data-dir").arg(&self.data_dir);
        command.env("NO_COLOR", "1").env_remove("MILLSTREAM_LOG").current_dir(self.scratch.path());
        if let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") {
            command.env("MILLSTREAM_PG_BIN", directory);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start millstream");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("piped above");
        let kept = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok).take(LINES_MAX) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Millstream {
            child,
            status: None,
            address: None,
            lines,
            reader: Some(reader),
            allowed: self.allowed.clone(),
            http: Http::default(),
            _scratch: Arc::clone(&self.scratch),
        }
    }

    /// Starts a process and waits until it takes events and answers questions.
    ///
    /// # Panics
    /// If it ends, or is not ready in time; with what it logged.
    pub async fn start(&self) -> Millstream {
        let mut millstream = self.spawn();
        millstream.ready().await;
        millstream
    }
}

/// A running process. Killed when it is dropped.
#[derive(Debug)]
pub struct Millstream {
    child: Child,
    status: Option<ExitStatus>,
    address: Option<SocketAddr>,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
    allowed: Vec<String>,
    http: Http,
    _scratch: Arc<tempfile::TempDir>,
}

impl Millstream {
    /// Waits until it listens, takes events and answers questions.
    ///
    /// # Panics
    /// If it ends, or is not ready in time; with what it logged.
    pub async fn ready(&mut self) {
        self.ready_for("events").await;
        self.ready_for("queries").await;
    }

    /// Waits until it listens and is ready for `events`, which need no database, or for `queries`.
    ///
    /// # Panics
    /// If it ends, or is not ready in time; with what it logged.
    pub async fn ready_for(&mut self, purpose: &str) {
        let began = tokio::time::Instant::now();
        loop {
            if let Some(status) = self.exited() {
                panic!("millstream ended with {status} before it was ready:\n{}", self.log());
            }
            if self.address.is_none() {
                self.address = self.lines().iter().find_map(|line| listening(line));
            }
            if self.address.is_some() && self.is_ready(purpose).await {
                return;
            }
            assert!(began.elapsed() < READY_WITHIN, "millstream is not ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn is_ready(&self, purpose: &str) -> bool {
        let answer = self.send(Method::GET, &format!("/readyz?for={purpose}"), &[], "").await;
        answer.is_ok_and(|answer| answer.status.is_success())
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Before it was ready.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("started")
    }

    /// Sends any request.
    ///
    /// # Errors
    /// When the process is not there, or leaves before it has answered.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Response, String> {
        let address = self.address.ok_or("not listening yet")?;
        self.http.send(method, address, path, headers, body).await
    }

    /// GET.
    ///
    /// # Panics
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, &[], "").await.expect(path)
    }

    /// POST of JSON to `/v1/events`.
    ///
    /// # Errors
    /// When the process is not there, or leaves before it has answered.
    pub async fn post(&self, body: impl Into<Bytes>) -> Result<Response, String> {
        self.send(Method::POST, "/v1/events", &[("content-type", "application/x-ndjson")], body).await
    }

    /// Waits until everything in the stream is in the tables.
    ///
    /// # Panics
    /// If it is not in time; with what it logged.
    pub async fn caught_up(&self, within: Duration) {
        let began = tokio::time::Instant::now();
        loop {
            let status = self.get("/v1/status").await.json();
            let lag = |pipeline: &serde_json::Value| {
                pipeline["lag_records"].as_u64().or_else(|| pipeline["lag"]["records"].as_u64())
            };
            let lags: Option<Vec<u64>> = status["pipelines"].as_array().expect("pipelines").iter().map(lag).collect();
            if lags.unwrap_or_else(|| panic!("no lag_records: {status}")).iter().all(|lag| *lag == 0) {
                return;
            }
            assert!(began.elapsed() < within, "not caught up in {within:?}: {status}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal; one that comes too late is lost, as always.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, signal).ok();
        }
    }

    /// Stands still at once (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asked to stop (SIGTERM).
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Gone at once (SIGKILL), and collected.
    ///
    /// # Panics
    /// If the kernel does not do it.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.status = Some(self.child.wait().expect("collect the process"));
    }

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().ok().flatten();
        }
        self.status
    }

    /// Waits for its end; the code, or minus the signal.
    ///
    /// # Panics
    /// If it does not end in time; with what it logged.
    pub async fn wait(&mut self) -> i32 {
        let began = tokio::time::Instant::now();
        let status = loop {
            if let Some(status) = self.exited() {
                break status;
            }
            assert!(began.elapsed() < EXIT_WITHIN, "millstream does not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        status.code().or(status.signal().map(|signal| -signal)).expect("a code or a signal")
    }

    /// Asks it to stop, waits for exit code 0, and looks at what it logged.
    ///
    /// # Panics
    /// If the code is another, or a WARN or ERROR line was not expected.
    pub async fn finish(mut self) {
        self.terminate();
        let code = self.wait().await;
        assert_eq!(code, 0, "exit code; it logged:\n{}", self.log());
        self.check_log();
    }

    /// Fails on every WARN or ERROR line that was not expected.
    ///
    /// # Panics
    /// With those lines.
    pub fn check_log(&mut self) {
        if self.exited().is_some()
            && let Some(reader) = self.reader.take()
        {
            reader.join().ok();
        }
        let alarming = |line: &&String| line.contains(" WARN ") || line.contains("ERROR ");
        // A statement is slow where the machine is busy, which is nobody's fault.
        let slow = |line: &&String| line.contains("slow statement");
        let allowed = |line: &&String| slow(line) || self.allowed.iter().any(|text| line.contains(&**text));
        let unexpected: Vec<String> =
            self.lines().iter().filter(|line| alarming(line) && !allowed(line)).cloned().collect();
        assert!(unexpected.is_empty(), "unexpected in the log:\n{}", unexpected.join("\n"));
    }

    /// Waits for a line that contains `text`.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn logged(&self, text: &str, within: Duration) -> String {
        until(&format!("the log to say {text:?}"), within, || async {
            self.lines().iter().find(|line| line.contains(text)).cloned()
        })
        .await
    }

    /// What it logged so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it logged so far, as one text.
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }
}

impl Drop for Millstream {
    fn drop(&mut self) {
        if self.exited().is_none() {
            // A frozen process dies of SIGKILL as well.
            self.kill();
        }
    }
}

/// The address in the line that says so.
fn listening(line: &str) -> Option<SocketAddr> {
    line.split_once("listen=")?.1.split_whitespace().next()?.parse().ok()
}
