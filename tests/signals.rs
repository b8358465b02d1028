//! Signals: a service reads its files again or drains, balancers hear of a drain before the port closes, and the private
//! PostgreSQL is never left behind.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyper::Method;
use millstream_tests::client::Http;
use millstream_tests::database::program;
use millstream_tests::event::lines;
use millstream_tests::{Generator, Millstream, OUTLIVES_PARENT, Setup, database, has_program, until};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

use crate::config::{Ran, millstream};

const WITHIN: Duration = Duration::from_secs(30);

fn status(setup: &Setup, more: &[&str]) -> Ran {
    let common = ["status", "--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    millstream(setup.scratch(), &[], &[&common, more].concat())
}

/// The private server of a data directory.
fn server(data_dir: &Path) -> Option<Pid> {
    let text = std::fs::read_to_string(data_dir.join("postgres/data/postmaster.pid")).ok()?;
    Pid::from_raw(text.lines().next()?.parse().ok()?)
}

async fn server_gone(server: Pid) {
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", server.as_raw_nonzero()));
    let gone = || state().map_or(true, |stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')));
    until("the private PostgreSQL to end", WITHIN, || async { gone().then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_terminal_sighup_reads_again_and_ends_nothing() {
    let setup = Setup::embedded();
    let running = setup.start().await;
    let server = server(setup.data_dir()).unwrap();
    for (signal, said) in [
        (Signal::HUP, "SIGHUP: tokens and passwords are read again"),
        (Signal::USR1, "SIGUSR1 means nothing here"),
        (Signal::USR2, "SIGUSR2 means nothing here"),
    ] {
        running.signal(signal);
        running.logged(said, WITHIN).await;
    }
    let events = Generator::new("reload").events(100);
    assert_eq!(running.post(lines(&events)).await.unwrap().status, 202);
    running.caught_up(WITHIN).await;
    running.finish().await;
    server_gone(server).await;
}

/// Ended by any of the signals that ask for an end, twice: at once, and without a server that stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_leaves_no_server_behind() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let setup = Setup::embedded().set("http.drain_notice_seconds=600");
        let mut running = setup.start().await;
        let server = server(setup.data_dir()).unwrap();
        running.signal(signal);
        running.logged("draining", WITHIN).await;
        let began = Instant::now();
        running.signal(signal);
        assert_eq!(running.wait().await, 1, "{}", running.log());
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        server_gone(server).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_ended_leaves_no_server_behind() {
    let setup = Setup::embedded();
    setup.start().await.finish().await;
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT] {
        // A psql that waits, as a person's does.
        let mut command = Command::new(program());
        command.args(["psql", "--data-dir"]).arg(setup.data_dir()).args(["--", "-c", "SELECT pg_sleep(600)"]);
        if let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") {
            command.env("MILLSTREAM_PG_BIN", directory);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = until("a server", WITHIN, || async {
            server(setup.data_dir()).filter(|_| setup.data_dir().join("postgres/run/.s.PGSQL.5432").exists())
        })
        .await;
        until("psql to be there", WITHIN, || async { child_of(&child).then_some(()) }).await;
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(128 + signal.as_raw()));
        server_gone(server).await;
    }
}

fn child_of(child: &Child) -> bool {
    let id = child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let of_any = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let mut children = vec![children];
    children.extend(of_any.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default()));
    children
        .iter()
        .flat_map(|text| text.split_whitespace())
        .any(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "psql"))
}

/// Balancers and clients with new connections, from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_told_before_the_port_closes() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.drain_notice_seconds=3");
    let mut running = setup.start().await;
    let address = running.address();
    let ask = |path: &'static str| async move { Http::default().send(Method::GET, address, path, &[], "").await };
    assert_eq!(ask("/readyz").await.unwrap().status, 200);
    let began = Instant::now();
    running.terminate();
    running.logged("draining", WITHIN).await;
    let ready = ask("/readyz").await.unwrap();
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.text().contains("draining"), "{}", ready.text());
    assert_eq!(ask("/healthz").await.unwrap().status, 200);
    assert_eq!(ask("/v1/status").await.unwrap().json()["draining"], true);
    let told = status(&setup, &[]);
    assert!(told.code == 0 && told.out.contains("draining"), "{told:#?}");
    // Whoever has not heard of it yet is served.
    let events = Generator::new("notice").events(100);
    let header = [("content-type", "application/x-ndjson")];
    let posted = Http::default().send(Method::POST, address, "/v1/events", &header, lines(&events)).await.unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text());
    // It stays so until the time is over, and then nobody listens.
    until("the port to close", WITHIN, || async {
        match ask("/readyz").await {
            Ok(answer) => {
                assert_eq!(answer.status, 503, "{}", answer.text());
                None
            }
            Err(_) => Some(()),
        }
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(running.wait().await, 0, "{}", running.log());
    let written = "SELECT count(*) FROM millstream.objects";
    assert!(database.number(written).await > 0, "what was taken in the notice is written");
    let gone = status(&setup, &[]);
    assert!(gone.code == 1 && gone.err.contains("no millstream answers"), "{gone:#?}");
}

/// When nobody listens any more and the work is not done yet, `status` still knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_knows_of_a_drain_that_takes_its_time() {
    let database = database().await;
    let proxy = millstream_tests::Proxy::start(&database).await;
    let setup = Setup::embedded().set(&format!("postgres.url={}", proxy.url())).set("limits.drain_seconds=20");
    let mut running = setup.start().await;
    let events = Generator::new("drain").events(200);
    let (first, rest) = events.split_at(1);
    running.post(lines(first)).await.unwrap();
    running.caught_up(WITHIN).await;
    proxy.stall();
    running.post(lines(rest)).await.unwrap();
    in_flight(&running).await;
    running.terminate();
    let pid = running.pid();
    until("the port to close", WITHIN, || async {
        running.send(Method::GET, "/healthz", &[], "").await.is_err().then_some(())
    })
    .await;
    let told = status(&setup, &[]);
    assert!(told.code == 0 && told.out.contains(&format!("draining: process {pid}")), "{told:#?}");
    assert_eq!(status(&setup, &["--json"]).json()["draining"], true);
    proxy.resume();
    assert_eq!(running.wait().await, 0, "{}", running.log());
}

async fn in_flight(running: &Millstream) {
    until("a batch to be written", WITHIN, || async {
        let metrics = running.get("/metrics").await.text();
        let turns = metrics.lines().find_map(|line| line.strip_prefix("millstream_controller_in_flight_transactions "));
        (turns.unwrap().trim().parse::<f64>().unwrap() > 0.0).then_some(())
    })
    .await;
}

/// A terminal of its own, closed as tmux and ssh close one: its other side goes away.
struct Terminal {
    script: Child,
    log: PathBuf,
}

impl Terminal {
    fn run(setup: &Setup, arguments: &str) -> Terminal {
        let log = setup.scratch().join("terminal.log");
        let line = format!(
            "exec {} {arguments} --data-dir {} 2>>{}",
            program().display(),
            setup.data_dir().display(),
            log.display()
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--command", &line, "/dev/null"]).current_dir(setup.scratch());
        command.env(OUTLIVES_PARENT, "1").env("MILLSTREAM_LOG", "info").env("NO_COLOR", "1").env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Terminal { script: command.spawn().unwrap(), log }
    }

    async fn logged(&self, text: &str) {
        until(&format!("the log to say {text:?}"), WITHIN * 2, || async {
            std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(text)).then_some(())
        })
        .await;
    }

    fn close(&mut self) {
        self.script.kill().unwrap();
        self.script.wait().unwrap();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.script.kill().ok();
        self.script.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_that_is_closed_ends_what_runs_there_in_good_order() {
    if !has_program("script") {
        return;
    }
    for arguments in ["run --listen 127.0.0.1:0", "demo --listen 127.0.0.1:0 --rate 50"] {
        let setup = Setup::embedded();
        let demo = arguments.starts_with("demo");
        let data_dir = if demo { setup.data_dir().join("demo") } else { setup.data_dir().to_owned() };
        let mut terminal = Terminal::run(&setup, arguments);
        let server = until("a server", WITHIN * 2, || async {
            server(&data_dir).filter(|_| data_dir.join("stream/topics/objects").exists())
        })
        .await;
        if !demo {
            terminal.logged("running").await;
        }
        assert!(test_kill_process(server).is_ok());
        terminal.close();
        server_gone(server).await;
        if !demo {
            // At once: on a terminal no balancer is told.
            terminal.logged("notice_s=0").await;
            terminal.logged("drained records=").await;
            assert!(!std::fs::read_to_string(&terminal.log).unwrap().contains("panicked"));
        }
        // Whole, and free.
        let lock = std::fs::File::options().write(true).open(data_dir.join("stream/lock")).unwrap();
        until("the lock to be free", WITHIN, || async { lock.try_lock().is_ok().then_some(()) }).await;
    }
}
