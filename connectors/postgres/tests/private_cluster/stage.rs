//! Homes, programs and what can be seen of them from outside.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::program::{DURABLE, HOME, MARK, PORT};

/// A start is waited for 60 s by the program itself, and a turn 90 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says that the scenario cannot run here. To be returned from at once.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// Whether a command that sets the stage (a namespace, a capability) is allowed here.
pub(crate) fn possible(command: &[&str]) -> bool {
    let run = Command::new(command[0]).args(&command[1..]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    run.is_ok_and(|status| status.success())
}

/// Waits for a condition; the time only bounds how long a broken one takes to be told.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(40), "waited for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A place for one cluster, gone with its server at the end of the test.
pub(crate) struct Home {
    pub(crate) place: TempDir,
    path: PathBuf,
}

impl Home {
    /// Nothing in it yet.
    pub(crate) fn fresh() -> Home {
        // Not `TMPDIR`, which may be closed to other accounts, as a checkout may.
        let place = tempfile::Builder::new().prefix("millstream-test-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let path = place.path().join("home");
        Home { place, path }
    }

    /// With a cluster in it, copied from one that was made and stopped: initdb takes a second of a core.
    pub(crate) fn made() -> Home {
        static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
        let template = TEMPLATE.get_or_init(|| {
            let home = Home::fresh();
            let mut program = home.start();
            program.opened();
            assert!(program.close());
            let template = common().join("template");
            fs::rename(&home.path, &template).unwrap();
            template
        });
        let home = Home::fresh();
        let copied = Command::new("cp").arg("-a").arg(template).arg(&home.path).status().unwrap();
        assert!(copied.success());
        home
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The same with another directory as the home.
    pub(crate) fn moved(mut self, path: PathBuf) -> Home {
        self.path = path;
        self
    }

    /// A place that an account may write to.
    pub(crate) fn given_to(self, uid: u32) -> Home {
        let given =
            Command::new("chown").arg("-R").arg(format!("{uid}:{uid}")).arg(self.place.path()).status().unwrap();
        assert!(given.success());
        self
    }

    pub(crate) fn program(&self) -> Stage {
        Stage { home: self.path.clone(), wrap: Vec::new(), set: Vec::new(), unset: Vec::new() }
    }

    pub(crate) fn start(&self) -> Program {
        self.program().start()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path.join("log")).unwrap_or_default()
    }

    /// Whether no process of a server is left.
    pub(crate) fn is_unused(&self) -> bool {
        File::open(self.path.join("server.lock")).is_ok_and(|lock| lock.try_lock().is_ok())
    }

    /// Kills the server as a failing machine would.
    pub(crate) fn kill_server(&self) {
        let pid = self.server().expect("a server");
        kill_process(pid, Signal::KILL).unwrap();
        eventually("the server to be dead", || !is_alive(pid));
    }

    pub(crate) fn server(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.path.join("data/postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.parse().ok()?)?;
        // The path is this test's alone, so nobody else's process is ever meant.
        let words = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let data = self.path.join("data");
        words.split(|byte| *byte == 0).any(|word| word == data.as_os_str().as_bytes()).then_some(pid)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Only after a failure is there one.
        if let Some(pid) = self.server() {
            kill_process(pid, Signal::QUIT).ok();
            let began = Instant::now();
            while is_alive(pid) && began.elapsed() < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        // The socket of a home whose path is too long.
        if let Ok(there) = fs::metadata(&self.path) {
            use std::os::unix::fs::MetadataExt;
            for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with("millstream-") && name.ends_with(&format!("-{}", there.ino())) {
                    fs::remove_dir_all(entry.path()).ok();
                }
            }
        }
    }
}

/// Neither gone nor a zombie.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// How a program is to be started.
pub(crate) struct Stage {
    home: PathBuf,
    wrap: Vec<String>,
    set: Vec<(String, String)>,
    unset: Vec<&'static str>,
}

impl Stage {
    /// Words before the program, which change account, capabilities or namespace. Wrappers nest outwards in.
    pub(crate) fn wrap(mut self, words: &[&str]) -> Stage {
        self.wrap.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn under(self, uid: u32) -> Stage {
        let id = uid.to_string();
        self.wrap(&["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--"])
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Stage {
        self.set.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn unset(mut self, name: &'static str) -> Stage {
        self.unset.push(name);
        self
    }

    pub(crate) fn port(self, port: u16) -> Stage {
        self.set(PORT, &port.to_string())
    }

    pub(crate) fn durable(self) -> Stage {
        self.set(DURABLE, "1")
    }

    pub(crate) fn start(self) -> Program {
        let mut words = self.wrap;
        words.push(executable().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["--exact", "program::program", "--nocapture"]);
        command.env(HOME, &self.home).envs(self.set).current_dir("/");
        for name in self.unset {
            command.env_remove(name);
        }
        // A group of its own, as a shell gives to what is started in a terminal.
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = piped.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tx, lines) = sync_channel(64);
        std::thread::spawn(move || {
            // Behind the runner's own words, if it did not end its line.
            for line in stdout.lines().map_while(Result::ok) {
                if let Some((_, said)) = line.split_once(MARK) {
                    tx.send(said.to_owned()).ok();
                }
            }
        });
        Program { child, lines }
    }
}

/// A copy of this test binary where every account can run it.
fn executable() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = common().join("program");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        copy
    })
}

/// What all tests of this run share. The test runner has no end to remove it at, so the next run does.
fn common() -> &'static Path {
    const PREFIX: &str = "millstream-test-common-";
    static COMMON: OnceLock<PathBuf> = OnceLock::new();
    COMMON.get_or_init(|| {
        for entry in fs::read_dir("/tmp").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let run = name.strip_prefix(PREFIX).and_then(|pid| Pid::from_raw(pid.parse().ok()?));
            if run.is_some_and(|run| !is_alive(run)) {
                fs::remove_dir_all(entry.path()).ok();
            }
        }
        let dir = PathBuf::from(format!("/tmp/{PREFIX}{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        dir
    })
}

/// A running program. Killed with the test.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(ANSWER_WITHIN).expect("the program says something")
    }

    /// Children of it that have ended and that it has not taken the exit status of.
    pub(crate) fn zombies(&self) -> usize {
        let stats = fs::read_dir("/proc").unwrap().flatten();
        let stats = stats.filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
        let parent = self.child.id().to_string();
        // Behind the name: the state, and the parent.
        let rest = |stat: &String| stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        stats.filter(|stat| rest(stat).starts_with(&format!("Z {parent} "))).count()
    }

    /// Waits until it has opened the cluster. The server's process, or 0 where it cannot be seen.
    pub(crate) fn opened(&self) -> i32 {
        let line = self.line();
        let pid = line.strip_prefix("opened ").unwrap_or_else(|| panic!("not opened: {line}"));
        pid.parse().unwrap()
    }

    /// Waits until it was refused, and says why.
    pub(crate) fn refused(&self) -> String {
        let line = self.line();
        line.strip_prefix("error ").unwrap_or_else(|| panic!("not refused: {line}")).to_owned()
    }

    pub(crate) fn order(&mut self, order: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    pub(crate) fn tell(&mut self, order: &str) -> String {
        self.order(order);
        self.line()
    }

    pub(crate) fn ask(&mut self, sql: &str) -> String {
        let line = self.tell(&format!("ask {sql}"));
        line.strip_prefix("answer ").unwrap_or_else(|| panic!("no answer: {line}")).to_owned()
    }

    pub(crate) fn ensure(&mut self) -> i32 {
        let line = self.tell("ensure");
        line.strip_prefix("ensured ").unwrap_or_else(|| panic!("not ensured: {line}")).parse().unwrap()
    }

    /// Whether it was the last and stopped the server.
    pub(crate) fn close(&mut self) -> bool {
        let stopped = self.tell("close") == "closed true";
        self.wait();
        stopped
    }

    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.wait();
    }

    pub(crate) fn interrupt_group(&self) {
        kill_process_group(Pid::from_child(&self.child), Signal::INT).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A number that no server has now. Somebody may take it before it is used, so not for what must not fail.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
