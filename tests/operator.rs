//! One judge: in every state, all screens name the same state and the same next command, and the commands end with the
//! same code.

use std::process::Command;
use std::time::Duration;

use millstream_postgres::cluster::{Cluster, ClusterOptions};
use millstream_tests::event::lines;
use millstream_tests::kinesis::Shards;
use millstream_tests::parts::{ElasticMq, Kafka, Kinesalite, unique};
use millstream_tests::{Millstream, Proxy, Setup, database, has_program, until};
use serde_json::Value;

use crate::config::Ran;
use crate::http_ingest::SmallDisk;
use crate::poison::poison;
use crate::restored::{events, go_back};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_database_is_frozen() {
    let database = database().await;
    let proxy = Proxy::start(&database).await;
    let setup = Setup::embedded().set(&format!("postgres.url={}", proxy.url())).allow("");
    let running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    // It takes connections, and says nothing.
    proxy.stall();
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    agree(&setup, &running, "database_away", "no answer within 1 s", "millstream doctor --data-dir ").await;
    let metrics = running.get("/metrics").await.text();
    assert!(metrics.lines().any(|line| line.starts_with("millstream_database_reachable 0")), "{metrics}");
    let lag = metrics.lines().find(|line| line.starts_with("millstream_source_lag_seconds{")).unwrap();
    assert!(lag.rsplit(' ').next().unwrap().parse::<f64>().unwrap() > 0.0, "{lag}");
    proxy.resume();
    is_over(&setup, &running, "database_away").await;
    running.finish().await;
}

/// A server of its own, so that it can be stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_database_is_stopped() {
    let setup = Setup::embedded();
    let mut options = ClusterOptions::new(setup.scratch().join("server"));
    options.durable = false;
    let server = Cluster::open(&options).await.unwrap();
    let address = server.options();
    let socket = address.get_socket().unwrap().to_str().unwrap().replace('/', "%2F");
    let url = format!("postgres.url=postgres://millstream@{socket}:{}/millstream", address.get_port());
    let setup = setup.set(&url).allow("");
    let running = setup.start().await;
    // Nothing arrives meanwhile: only the probe can tell.
    agree(&setup, &running, "keeping_up", "", "").await;
    server.close().await.unwrap();
    agree(&setup, &running, "database_away", "the database does not answer", "millstream doctor --data-dir ").await;
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    let began = tokio::time::Instant::now();
    until("some tries", WITHIN, || async { (began.elapsed() > Duration::from_secs(10)).then_some(()) }).await;
    assert_eq!(told_of(&running, "database_away"), 1, "{}", running.log());
    let lines = alarming(&running);
    assert!(lines.len() <= 3, "{lines:#?}");
    let server = Cluster::open(&options).await.unwrap();
    is_over(&setup, &running, "database_away").await;
    running.finish().await;
    server.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_grants_were_revoked() {
    let database = database().await;
    let role = database.owner("secret").await;
    let url = format!("postgres.url=postgres://{role}:secret@127.0.0.1:{}/{}", database.port(), database.name);
    let setup = Setup::embedded().set(&url).allow("");
    let running = setup.start().await;
    database
        .execute(&format!(
            "ALTER TABLE millstream.objects OWNER TO CURRENT_USER; REVOKE ALL ON millstream.objects FROM {role}"
        ))
        .await;
    // Before an event meets it.
    let next = "millstream doctor --data-dir ";
    agree(&setup, &running, "braked", "the account lacks a grant: GRANT ", next).await;
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    until("the word of the database", WITHIN, || async {
        let status = running.get("/v1/status").await.json();
        let reason = status["reason"].as_str().unwrap_or_default();
        (status["state"] == "braked" && reason.contains("permission denied for table objects")).then_some(())
    })
    .await;
    assert_eq!(command(&setup, &["status"]).code, 1);
    assert!(!running.log().contains(" at line "), "{}", running.log());
    database
        .execute(&format!("ALTER TABLE millstream.objects OWNER TO {role}; GRANT ALL ON millstream.objects TO {role}"))
        .await;
    is_over(&setup, &running, "braked").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_records_were_lost() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=2").allow("");
    go_back(&setup, &events(0, 40), &events(100, 40)).await;
    let running = setup.start().await;
    let next = "millstream positions reset --pipeline objects --to earliest --data-dir ";
    until("both partitions are halted", WITHIN, || async {
        let halted = running.get("/v1/status").await.json()["pipelines"][0]["halted"].as_object().unwrap().len();
        (halted == 2).then_some(())
    })
    .await;
    agree(&setup, &running, "halted", "nothing of it is written until you decide", next).await;
    // What it says next is what mends it, as it is printed.
    let status = running.get("/v1/status").await.json();
    let told = pasted(status["next"].as_str().unwrap());
    assert!(told.status.success(), "{told:#?}");
    is_over(&setup, &running, "halted").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_too_many_events_are_bad() {
    let database = database().await;
    let setup = ["stream.partitions=1", "limits.quarantine_window_events=10000"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting)).allow("");
    let running = setup.start().await;
    // Of a store that is named, so that there are others, or will be.
    let json = [("content-type", "application/x-ndjson")];
    let posted = running.send(hyper::Method::POST, "/v1/events?store=a", &json, poison(500)).await.unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text());
    agree(
        &setup,
        &running,
        "flooding",
        "millstream resume objects --store a",
        "millstream quarantine ls --store a --data-dir ",
    )
    .await;
    let status = running.get("/v1/status").await.json();
    let told = pasted(status["next"].as_str().unwrap());
    assert!(told.status.success() && String::from_utf8_lossy(&told.stdout).contains("bad_time"), "{told:#?}");
    assert_eq!(command(&setup, &["resume", "objects", "--store", "a"]).code, 0);
    is_over(&setup, &running, "flooding").await;
    running.finish().await;
}

/// The commands of this program in a text, each between backticks.
fn commands(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).filter(|quoted| quoted.starts_with("millstream ")).collect()
}

/// What stands behind `name` in its line.
fn behind<'t>(text: &'t str, name: &str) -> &'t str {
    text.lines().find_map(|line| Some(line.split_once(name)?.1.trim())).unwrap_or_else(|| panic!("no {name}: {text}"))
}

/// In a shell that stands elsewhere and knows nothing but the program; what it printed.
fn followed(printed: &str) -> String {
    let told = pasted(printed);
    assert!(told.status.success(), "{printed}: {told:#?}");
    String::from_utf8(told.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn advice_is_followed_as_it_is_printed() {
    let database = database().await;
    let setup = ["stream.partitions=1", "limits.quarantine_window_events=10000"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting)).allow("");
    let running = setup.start().await;
    let json = [("content-type", "application/x-ndjson")];
    let posted = running.send(hyper::Method::POST, "/v1/events?store=a", &json, poison(500)).await.unwrap();
    assert_eq!(posted.status, 202, "{}", posted.text());
    reaches(&running, "flooding").await;

    let status = command(&setup, &["status"]);
    let doctor = command(&setup, &["doctor"]);
    let state = doctor.out.lines().find(|line| line.contains("flooding: ")).unwrap();
    let resume = commands(state).pop().unwrap_or_else(|| panic!("{doctor:#?}"));
    let here = format!("millstream resume objects --store a --data-dir {} ", setup.data_dir().display());
    assert!(resume.starts_with(&here) && commands(&status.out).contains(&resume), "{resume}: {status:#?}");

    // From the state to the quarantine, and from there to a row of it.
    let list = behind(&status.out, "events are in quarantine: ");
    let listed = followed(list);
    let id = listed.lines().find(|line| line.contains("bad_time")).unwrap().split_whitespace().next().unwrap();
    let look = behind(&listed, "look: ").replace(" ID ", &format!(" {id} "));
    assert!(followed(&look).contains("payload, "), "{look}");
    for filter in ["--reason no_such_reason", "--store b"] {
        assert_eq!(followed(&format!("{list} {filter}")), "nothing in quarantine matches\n");
    }
    // What fails says what to do in the same way.
    let absent = pasted(&look.replace(&format!(" {id} "), " 0 "));
    let told = String::from_utf8(absent.stderr).unwrap();
    assert!(!absent.status.success() && followed(commands(&told).first().unwrap()).contains("bad_time"), "{told}");

    assert!(followed(resume).contains("goes on"));
    reaches(&running, "keeping_up").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_operator_holds_the_pace_and_that_nothing_is_wrong() {
    let database = database().await;
    let setup = Setup::new(&database);
    let running = setup.start().await;
    assert_eq!(command(&setup, &["pace", "--freeze"]).code, 0);
    agree(&setup, &running, "frozen", "the operator holds", "millstream pace --thaw --data-dir ").await;
    let status = running.get("/v1/status").await.json();
    assert!(pasted(status["next"].as_str().unwrap()).status.success());
    agree(&setup, &running, "keeping_up", "", "").await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_a_backlog_shrinks() {
    let database = database().await;
    let setup = Setup::new(&database)
        .set("pipeline.objects.rows_per_second_max=100")
        .set("pipeline.objects.batch_records_max=50");
    let running = setup.start().await;
    assert_eq!(running.post(lines(&events(0, 3_000))).await.unwrap().status, 202);
    agree(&setup, &running, "catching_up", "records wait", "").await;
    running.terminate();
}

/// The database answers and refuses nothing: a trigger waits for what does not come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_nothing_is_written() {
    let database = database().await;
    let setup = ["controller.transaction_max=10m", "limits.stall_seconds=600", "postgres.statement_timeout_ms=500000"];
    let setup = setup.iter().fold(Setup::new(&database), |setup, setting| setup.set(setting)).allow("");
    let running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    let hold = "CREATE TABLE public.held AS SELECT 1; GRANT SELECT ON public.held TO PUBLIC;
        CREATE FUNCTION public.hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            WHILE EXISTS (SELECT FROM public.held) LOOP PERFORM pg_sleep(0.05); END LOOP;
            RETURN NULL;
        END $$;
        CREATE TRIGGER hold BEFORE INSERT ON millstream.objects FOR EACH STATEMENT EXECUTE FUNCTION public.hold()";
    database.execute(hold).await;
    assert_eq!(running.post(lines(&events(0, 20))).await.unwrap().status, 202);
    let reason = "records wait, and none was written in the last seconds";
    agree(&setup, &running, "stalled", reason, "millstream doctor --data-dir ").await;
    database.execute("DELETE FROM public.held").await;
    running.caught_up(WITHIN).await;
    database.execute("DROP TRIGGER hold ON millstream.objects").await;
    is_over(&setup, &running, "stalled").await;
    running.finish().await;
}

/// A process that stands still, and one that is gone without taking leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_say_that_the_process_does_not_answer() {
    let database = database().await;
    let setup = Setup::new(&database);
    let mut running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    running.freeze();
    let told = command(&setup, &["status"]);
    assert!(told.code == 1 && told.err.contains("does not answer within"), "{told:#?}");
    let (told, failing) = doctor(&setup);
    assert!(failing.contains(&"running process".to_owned()), "{told:#?}");
    running.thaw();
    running.kill();
    let told = command(&setup, &["status"]);
    assert!(told.code == 1 && told.err.contains("millstream run"), "{told:#?}");
    let (told, failing) = doctor(&setup);
    assert!(failing == ["running process"] && told.out.contains("millstream run"), "{told:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_it_drains() {
    let database = database().await;
    let setup = Setup::new(&database).set("http.drain_notice_seconds=20");
    let mut running = setup.start().await;
    agree(&setup, &running, "keeping_up", "", "").await;
    running.terminate();
    agree(&setup, &running, "draining", "what is in flight is finished", "").await;
    assert_eq!(running.wait().await, 0, "{}", running.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_screen_says_that_the_disk_is_full() {
    let database = database().await;
    let setup = Setup::new(&database).set("stream.partitions=1").allow("");
    let Some(disk) = SmallDisk::mount(setup.data_dir().join("stream"), "4m") else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let running = setup.start().await;
    let filler = disk.0.join("filler");
    assert!(std::fs::write(&filler, vec![0; 8 << 20]).is_err(), "the disk is larger than thought");
    let mut sent = 0;
    let mut refused = 0;
    // Again and again: each try is the same fault.
    for number in 0..200 {
        let answer = running.post(lines(&events(number * 100, 100))).await.unwrap();
        sent += 100;
        if answer.status == 503 {
            refused += 100;
        }
    }
    assert!(refused > 0, "it was never full");
    agree(&setup, &running, "stream_stopped", "No space left", "df -h ").await;
    let status = running.get("/v1/status").await.json();
    assert!(pasted(status["next"].as_str().unwrap()).status.success());
    assert_eq!(status["http"]["refused_events"].as_u64(), Some(refused), "{status:#}");
    assert_eq!(status["http"]["accepted_events"].as_u64(), Some(sent - refused), "{status:#}");
    let lines_told = alarming(&running);
    assert!(lines_told.len() <= 4, "{lines_told:#?}");

    std::fs::remove_file(&filler).unwrap();
    until("room", WITHIN, || async {
        (running.post(lines(&events(90_000, 10))).await.unwrap().status == 202).then_some(())
    })
    .await;
    is_over(&setup, &running, "stream_stopped").await;
    running.finish().await;
    drop(disk);
}

/// With a database that is away from the start nothing is in hand, and the age of what may wait is told all the same.
async fn age_is_told(setup: Setup) {
    let setup = setup.set("postgres.url=postgres://nobody@127.0.0.1:1/nowhere").allow("");
    let mut running = setup.spawn();
    running.ready_for("events").await;
    reaches(&running, "database_away").await;
    until("the age to grow", WITHIN, || async {
        let metrics = running.get("/metrics").await.text();
        let age = metrics.lines().find(|line| line.starts_with("millstream_source_lag_seconds{"))?;
        age.rsplit(' ').next()?.parse::<f64>().is_ok_and(|age| age > 1.0).then_some(())
    })
    .await;
    let status = running.get("/v1/status").await.json();
    assert!(status["pipelines"][0]["lag_seconds"].as_f64().unwrap() > 1.0, "{status:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_in_kafka_is_told_while_the_database_is_away() {
    let Some(kafka) = Kafka::shared().await else { return };
    let topic = unique("age");
    kafka.topics.create(&topic, 2, &[]).await;
    let setup = Setup::embedded()
        .set("stream.kind=kafka")
        .set(&format!("stream.kafka.brokers={}", kafka.bootstrap()))
        .set(&format!("pipeline.objects.source.topic={topic}"))
        .set(&format!("pipeline.objects.source.group={topic}"));
    age_is_told(setup).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_in_kinesis_is_told_while_the_database_is_away() {
    let Some(service) = Kinesalite::shared().await else { return };
    let shards = Shards::new(service, 2).await;
    let setup = Setup::embedded()
        .set("stream.kind=kinesis")
        .set(&format!("stream.kinesis={{ endpoint = \"{}\", region = \"us-east-1\" }}", service.endpoint()))
        .set(&format!("pipeline.objects.source={{ kind = \"stream\", topic = \"{}\" }}", shards.name));
    let variables = shards.account.variables();
    age_is_told(variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_age_of_what_waits_in_a_queue_is_told_while_the_database_is_away() {
    let Some(service) = ElasticMq::shared().await else { return };
    let account = service.account();
    let url = account.queue("age").await;
    let source = format!(
        "pipeline.objects.source={{ kind = \"sqs\", accept_loss_on_restore = true, queue = \"{url}\", endpoint = \"{}\", region = \"us-east-1\" }}",
        service.endpoint()
    );
    let variables = account.variables();
    let setup = Setup::embedded().set(&source);
    age_is_told(variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))).await;
}
