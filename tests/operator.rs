//! One judge: in every state, all screens name the same state and the same next command, and the commands end with the
//! same code.

mod advice;
mod age;
mod database;
mod flow;
mod records;

use std::process::Command;
use std::time::Duration;

use millstream_tests::{Millstream, Setup, has_program, until};
use serde_json::Value;

use crate::config::Ran;

const WITHIN: Duration = Duration::from_secs(40);

/// What is asked of every screen in a state.
#[derive(Debug)]
struct Row {
    state: &'static str,
    /// Whether nobody has to do anything: `status` and `doctor` exit with 0.
    well: bool,
    /// Whether `/readyz` answers 200.
    takes_events: bool,
    /// What keeps more from being written.
    pace: &'static str,
}

/// States by screens.
#[rustfmt::skip]
const TABLE: [Row; 10] = [
    Row { state: "keeping_up",     well: true,  takes_events: true,  pace: "application_limited" },
    Row { state: "catching_up",    well: true,  takes_events: true,  pace: "capped" },
    Row { state: "frozen",         well: true,  takes_events: true,  pace: "frozen" },
    Row { state: "draining",       well: true,  takes_events: false, pace: "draining" },
    Row { state: "stream_stopped", well: false, takes_events: false, pace: "stream_stopped" },
    Row { state: "database_away",  well: false, takes_events: true,  pace: "database_away" },
    Row { state: "halted",         well: false, takes_events: true,  pace: "halted" },
    Row { state: "flooding",       well: false, takes_events: true,  pace: "flooding" },
    Row { state: "braked",         well: false, takes_events: true,  pace: "braked" },
    Row { state: "stalled",        well: false, takes_events: true,  pace: "stalled" },
];

fn row(state: &str) -> &'static Row {
    TABLE.iter().find(|row| row.state == state).unwrap()
}

/// Runs a command that finds the process by its data directory.
fn command(setup: &Setup, arguments: &[&str]) -> Ran {
    let settings = setup.settings();
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let common = ["--data-dir", setup.data_dir().to_str().unwrap(), "--listen", "127.0.0.1:1"];
    crate::config::millstream(setup.scratch(), &[], &[arguments, &settings, &common].concat())
}

/// Runs a command as it was printed, in a shell that knows nothing else.
fn pasted(printed: &str) -> std::process::Output {
    let program = millstream_tests::database::program();
    let bin = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(program, bin.path().join("millstream")).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    if let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") {
        shell.env("MILLSTREAM_PG_BIN", directory);
    }
    shell.args(["-c", printed]).env("PATH", path).current_dir(bin.path()).output().unwrap()
}

/// What `doctor` finds fault with, but for what is of this machine and of the tests' cluster, which does without fsync.
fn doctor(setup: &Setup) -> (Ran, Vec<String>) {
    const NOT_OURS: [&str; 4] = ["durability", "free space", "connections", "open files"];
    let told = command(setup, &["doctor", "--json"]);
    let report = told.json();
    assert_eq!(told.code == 0, report["ok"].as_bool().unwrap(), "{told:#?}");
    let checks = report["checks"].as_array().unwrap().iter();
    let failing =
        checks.filter(|check| check["state"] == "FAIL").map(|check| check["name"].as_str().unwrap().to_owned());
    let failing = failing.filter(|name| !NOT_OURS.contains(&name.as_str())).collect();
    (told, failing)
}

async fn reaches(running: &Millstream, state: &str) -> Value {
    until(&format!("the state {state}"), WITHIN, || async {
        let status = running.get("/v1/status").await.json();
        (status["state"] == state).then_some(status)
    })
    .await
}

/// Asks every screen. `reason` is in what each of them says of it, and the next command begins with `next`.
async fn agree(setup: &Setup, running: &Millstream, state: &str, reason: &str, next: &str) {
    let Row { well, takes_events, pace, .. } = *row(state);
    until(&format!("the pace {pace}"), WITHIN, || async {
        let limit = running.get("/v1/status").await.json()["controller"]["limited_by"].clone();
        (limit == pace).then_some(())
    })
    .await;
    let status = reaches(running, state).await;
    let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    assert!(status["well"] == well && text("reason").contains(reason), "{state}: {status:#}");
    let next_said = text("next");
    assert!(next_said.starts_with(next) && next_said.is_empty() == next.is_empty(), "{state}: {status:#}");
    assert!(text("since").ends_with('Z') && status["for_seconds"].is_number(), "{status:#}");
    assert_eq!(status["controller"]["limited_by"], pace, "{state}");
    for pipeline in status["pipelines"].as_array().unwrap() {
        assert_eq!((&pipeline["verdict"], &pipeline["state"]), (&state.into(), &state.into()), "{status:#}");
        assert_eq!(pipeline["next"].as_str().unwrap_or_default(), next_said, "{status:#}");
    }

    let ready = running.get("/readyz").await;
    assert_eq!(ready.status.as_u16(), if takes_events { 200 } else { 503 }, "{state}: {}", ready.text());
    assert_eq!(ready.json()["state"], state);
    metrics(running, state).await;

    let told = command(setup, &["status"]);
    let words = state.replace('_', " ");
    assert_eq!(told.code, i32::from(!well), "{state}: {told:#?}");
    assert!(told.out.contains(&words) && told.out.contains(reason) && told.out.contains(&next_said), "{told:#?}");
    let (told, failing) = doctor(setup);
    assert_eq!(failing.is_empty(), well, "{state}: {failing:?} {told:#?}");
    assert!(told.out.contains(&words), "{told:#?}");
    page(running, &status);
    if !well {
        let line = running.logged(&format!(": {words} reason="), WITHIN).await;
        assert!(line.contains(reason) && line.contains(next), "{line}");
        assert_eq!(told_of(running, state), 1, "once: {}", running.log());
    }
}

async fn metrics(running: &Millstream, state: &str) {
    let Row { well, takes_events, .. } = *row(state);
    let metrics = running.get("/metrics").await.text();
    for line in [
        format!("millstream_state{{state=\"{state}\"}} 1"),
        format!("millstream_well {}", u8::from(well)),
        format!("millstream_stream_stopped {}", u8::from(state == "stream_stopped")),
        format!("millstream_ready{{for=\"events\"}} {}", u8::from(takes_events)),
    ] {
        assert!(metrics.lines().any(|found| found == line || found == format!("{line}.0")), "{line}\n{metrics}");
    }
    for gauge in ["millstream_state{", "millstream_pipeline_state{"] {
        let set = metrics.lines().filter(|line| {
            line.starts_with(gauge) && line.rsplit(' ').next().is_some_and(|value| value.parse() == Ok(1.0))
        });
        let set: Vec<&str> = set.collect();
        assert!(set.len() == 1 && set.iter().all(|line| line.contains(&format!("\"{state}\""))), "{set:?}");
    }
    assert!(metrics.contains("millstream_source_lag_seconds{"), "{metrics}");
}

/// What the page says in a browser.
fn page(running: &Millstream, status: &Value) {
    let Some(shown) = browse(running) else { return };
    for (id, text) in [("why", "reason"), ("next-command", "next")] {
        let said = status[text].as_str().unwrap_or_default();
        // Figures in a reason may be others a moment later.
        let said: String =
            said.chars().take_while(|letter| !letter.is_ascii_digit() && !"<>&\"'".contains(*letter)).collect();
        assert!(shown.contains(&format!("id=\"{id}\"")) && shown.contains(&said), "{said}: {shown}");
    }
    let summary = shown.split("id=\"summary\"").nth(1).and_then(|rest| rest.split('<').next()).unwrap();
    assert!(!summary.contains("not known") && !summary.contains("connecting"), "{summary}");
    let class = if status["well"] == true { ["good", "busy"] } else { ["bad", "bad"] };
    let banner = shown.split("id=\"banner\"").nth(1).and_then(|rest| rest.split('>').next()).unwrap();
    assert!(class.iter().any(|class| banner.contains(class)), "{banner}");
}

/// The page as a browser has it after some seconds.
fn browse(running: &Millstream) -> Option<String> {
    if !has_program("chromium-headless-shell") {
        return None;
    }
    let profile = tempfile::tempdir().unwrap();
    let mut browser = Command::new("chromium-headless-shell");
    // It asks nobody but the page.
    browser.args(["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]);
    browser.args(["--disable-background-networking", "--disable-component-update", "--disable-quic"]);
    browser.arg(format!("--user-data-dir={}", profile.path().display()));
    browser.args(["--virtual-time-budget=2500", "--dump-dom"]);
    let shown = browser.arg(format!("http://{}/", running.address())).output().unwrap();
    Some(String::from_utf8(shown.stdout).unwrap())
}

/// Lines of the judge about a state.
fn told_of(running: &Millstream, state: &str) -> usize {
    let words = format!(": {} reason=", state.replace('_', " "));
    running.lines().iter().filter(|line| line.contains("judge") && line.contains(&words)).count()
}

/// Lines that call for somebody.
fn alarming(running: &Millstream) -> Vec<String> {
    let is_alarming = |line: &&String| line.contains(" WARN ") || line.contains("ERROR ");
    running.lines().iter().filter(is_alarming).cloned().collect()
}

/// It is over, and the log says so once, with how long it took.
async fn is_over(setup: &Setup, running: &Millstream, state: &str) {
    let words = format!("{} is over", state.replace('_', " "));
    let line = running.logged(&words, WITHIN).await;
    assert!(line.contains("after_s="), "{line}");
    agree(setup, running, "keeping_up", "", "").await;
    let over = running.lines().iter().filter(|line| line.contains(&words)).count();
    assert_eq!(over, 1, "{}", running.log());
}
