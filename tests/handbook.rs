//! The operator's pages of `pipeline/docs`: their commands are run as they are printed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use millstream_tests::database::program;
use millstream_tests::event::lines;
use millstream_tests::parts::{self, Kafka, unique};
use millstream_tests::{Database, Event, Generator, Millstream, Model, Setup, compare, scratch, until};

use crate::config::millstream;

const WITHIN: Duration = Duration::from_secs(60);

/// A page, its commands by name, and where they work.
struct Page {
    blocks: BTreeMap<String, String>,
    scratch: tempfile::TempDir,
    variables: Vec<(&'static str, PathBuf)>,
}

impl Page {
    /// Reads a page. What it calls `places` is set by the test instead, each to a place of its own.
    fn open(name: &str, places: &[&'static str]) -> Page {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("pipeline/docs").join(name);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut blocks = BTreeMap::new();
        for part in text.split("\n```").skip(1).step_by(2) {
            let (head, script) = part.split_once('\n').unwrap();
            let block = head.strip_prefix("sh ").unwrap_or_else(|| panic!("{name}: a block without a name: {part}"));
            assert!(blocks.insert(block.to_owned(), script.to_owned()).is_none(), "{name}: {block} twice");
        }
        let scratch = scratch();
        let set = blocks.remove("places").expect("a block that sets places");
        for line in set.lines() {
            let named = line.strip_prefix("export ").and_then(|rest| rest.split_once('=')).expect(line).0;
            assert!(places.contains(&named), "{name}: the test does not know {named}");
        }
        std::os::unix::fs::symlink(program(), scratch.path().join("millstream")).unwrap();
        let variables = places.iter().map(|place| (*place, scratch.path().join(place.to_lowercase()))).collect();
        Page { blocks, scratch, variables }
    }

    fn place(&self, name: &str) -> &Path {
        &self.variables.iter().find(|(own, _)| *own == name).unwrap().1
    }

    fn set(&mut self, name: &str, value: impl Into<PathBuf>) {
        self.variables.iter_mut().find(|(own, _)| *own == name).unwrap().1 = value.into();
    }

    /// Runs a block as a person would paste it, and demands that every command of it succeeds; what it printed.
    fn run(&mut self, block: &str) -> String {
        let script = self.blocks.remove(block).unwrap_or_else(|| panic!("there is no block {block}"));
        let mut path = vec![self.scratch.path().to_owned()];
        let mut command = Command::new("bash");
        if let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") {
            path.push(PathBuf::from(&directory));
            command.env("MILLSTREAM_PG_BIN", directory);
        }
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        command.args(["-euo", "pipefail", "-c", &script]).current_dir(self.scratch.path());
        command.env("PATH", std::env::join_paths(path).unwrap()).envs(self.variables.iter().cloned());
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{block}: {}\n{script}\n{said}", output.status);
        said
    }

    /// Every block of the page was run.
    fn done(&self) {
        assert!(self.blocks.is_empty(), "not run: {:?}", self.blocks.keys());
    }
}

/// Whether the tools of the server are there: what is made for embedding has none.
fn can_dump() -> bool {
    let Some(directory) = std::env::var_os("MILLSTREAM_TEST_PG_BIN") else { return true };
    let there = Path::new(&directory).join("pg_dump").is_file();
    if !there {
        println!("skipped: no pg_dump in {}", directory.to_string_lossy());
    }
    there
}

async fn post(running: &Millstream, events: &[Event]) {
    for part in events.chunks(100) {
        let answer = running.post(lines(part)).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
    }
    running.caught_up(WITHIN).await;
}

async fn holds(data_dir: &Path, events: &[&[Event]]) {
    let model = Model::of(events.iter().copied().flatten());
    compare(&Database::private(data_dir), &model).await;
}

fn three_parts(name: &str) -> (Vec<Event>, Vec<Event>, Vec<Event>) {
    let mut generator = Generator::new(name);
    (generator.events(400), generator.events(300), generator.events(200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_stopped_process_is_brought_back() {
    let mut page = Page::open("backup-and-restore.md", &["DATA", "BACKUP", "RESTORED"]);
    let (before, after, later) = three_parts("cold copy");
    let setup = Setup::embedded().at(page.place("DATA"));
    let running = setup.start().await;
    post(&running, &before).await;
    running.finish().await;
    page.run("cold-copy");
    let running = setup.start().await;
    post(&running, &after).await;
    running.finish().await;

    page.run("cold-restore");
    let running = Setup::embedded().at(page.place("RESTORED")).start().await;
    running.caught_up(WITHIN).await;
    holds(page.place("RESTORED"), &[&before]).await;
    post(&running, &later).await;
    holds(page.place("RESTORED"), &[&before, &later]).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_running_process_is_brought_back_and_reads_on() {
    if !can_dump() {
        return;
    }
    let mut page = Page::open("backup-and-restore.md", &["DATA", "BACKUP", "RESTORED"]);
    let (before, between, later) = three_parts("live copy");
    let running = Setup::embedded().at(page.place("DATA")).start().await;
    post(&running, &before).await;
    let added = ["user", "add", "ana", "--role", "analyst", "--data-dir", page.place("DATA").to_str().unwrap()];
    let ran = millstream(page.scratch.path(), &[], &added);
    assert_eq!(ran.code, 0, "{ran:#?}");
    page.run("live-database");
    // Only the stream has these: the database of the backup is older.
    post(&running, &between).await;
    page.run("live-stream");
    post(&running, &later).await;
    running.finish().await;

    page.run("live-restore");
    let said = page.run("look");
    assert!(said.contains("every counter is what the rows come to") && !said.contains("never read"), "{said}");
    let running = Setup::embedded().at(page.place("RESTORED")).start().await;
    running.caught_up(WITHIN).await;
    holds(page.place("RESTORED"), &[&before, &between]).await;
    let restored = Database::private(page.place("RESTORED"));
    let accounts = restored.number("SELECT count(*) FROM pg_roles WHERE rolname = 'ana' AND rolcanlogin").await;
    assert_eq!(accounts, 1);
    post(&running, &later).await;
    holds(page.place("RESTORED"), &[&before, &between, &later]).await;
    running.finish().await;
}

/// The stream of the backup is older than its database: a halt, then the command of the page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_older_than_its_database_halts_until_the_command_of_the_page() {
    if !can_dump() {
        return;
    }
    let mut page = Page::open("backup-and-restore.md", &["DATA", "BACKUP", "RESTORED"]);
    let (before, between, later) = three_parts("stream older");
    let running = Setup::embedded().at(page.place("DATA")).start().await;
    post(&running, &before).await;
    std::fs::create_dir_all(page.place("BACKUP")).unwrap();
    page.run("live-stream");
    post(&running, &between).await;
    page.run("live-database");
    running.finish().await;

    page.run("live-restore");
    let restored = page.place("RESTORED").to_owned();
    let setup = Setup::embedded().at(&restored);
    let halting = setup.spawn();
    halting.logged("the partition is halted", WITHIN).await;
    halting.terminate();
    let mut halting = halting;
    assert_eq!(halting.wait().await, 1, "{}", halting.log());
    let shown = ["positions", "show", "--data-dir", restored.to_str().unwrap()];
    let ran = millstream(page.scratch.path(), &[], &shown);
    assert!(ran.code == 0 && ran.out.contains("never read:"), "{ran:#?}");

    page.run("stream-is-older");
    let running = setup.start().await;
    post(&running, &later).await;
    holds(&restored, &[&before, &between, &later]).await;
    running.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_cluster_moves_to_a_new_major_version() {
    if std::env::var_os("MILLSTREAM_TEST_PG_BIN").is_some() {
        println!("skipped: the old version is the one of this machine");
        return;
    }
    let Some(newer) = newer_postgres().await else { return };
    let mut page = Page::open("postgresql-major-version.md", &["OLD", "NEW", "NEW_BIN"]);
    page.set("NEW_BIN", newer.clone());
    let (before, later, _) = three_parts("major version");
    let running = Setup::embedded().at(page.place("OLD")).start().await;
    post(&running, &before).await;
    running.finish().await;
    page.run("dump");
    page.run("load");
    let said = page.run("check");
    assert!(said.contains(" 18") && said.contains("every counter is what the rows come to"), "{said}");
    page.done();

    // The directory of a version that was named is needed no longer once the cluster knows where it is; the one of the
    // tests lies where nobody would look.
    let setup = Setup::embedded().at(page.place("NEW")).variable("MILLSTREAM_PG_BIN", newer.to_str().unwrap());
    let running = setup.start().await;
    running.caught_up(WITHIN).await;
    post(&running, &later).await;
    holds(page.place("NEW"), &[&before, &later]).await;
    running.finish().await;
}

/// PostgreSQL 18, beside that of the machine.
async fn newer_postgres() -> Option<PathBuf> {
    match parts::run("postgres18.sh", &[]).await {
        Ok(directory) => Some(PathBuf::from(directory)),
        Err(missing) => {
            let required = std::env::var_os("MILLSTREAM_REQUIRE_SERVICES").is_some_and(|value| value == "1");
            assert!(!required, "MILLSTREAM_REQUIRE_SERVICES=1, and {missing}");
            println!("skipped: {missing}");
            None
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_moves_from_the_embedded_stream_to_kafka() {
    let Some(kafka) = Kafka::shared().await else { return };
    let topic = unique("moved");
    kafka.topics.create(&topic, 3, &[]).await;
    let mut page = Page::open("from-the-embedded-stream-to-kafka.md", &["DATA", "BROKERS", "TOPIC"]);
    page.set("BROKERS", kafka.bootstrap());
    page.set("TOPIC", &topic);
    let (before, after, _) = three_parts("to kafka");
    let data_dir = page.place("DATA").to_owned();
    let running = Setup::embedded().at(&data_dir).start().await;
    for part in before.chunks(100) {
        assert_eq!(running.post(lines(part)).await.unwrap().status, 202);
    }
    page.run("drain");
    running.finish().await;
    let said = page.run("switch");
    assert!(said.contains("the tables were filled from another stream"), "{said}");

    let config = data_dir.join("kafka.toml");
    let setup = Setup::embedded().at(&data_dir).argument("--config").argument(config.to_str().unwrap());
    let running = setup.start().await;
    holds(&data_dir, &[&before]).await;
    for part in after.chunks(100) {
        assert_eq!(running.post(lines(part)).await.unwrap().status, 202);
    }
    let database = Database::private(&data_dir);
    until("what went through Kafka", WITHIN, || async {
        let read = "SELECT sum(next_position::bigint) FROM millstream.lease WHERE incarnation IN \
                    (SELECT incarnation FROM millstream.lease ORDER BY renewed_at DESC LIMIT 1)";
        (database.number(read).await == after.len() as i64).then_some(())
    })
    .await;
    holds(&data_dir, &[&before, &after]).await;
    running.finish().await;
    page.run("remove");
    page.done();
    assert!(!data_dir.join("stream").exists());
}

/// Both tests of the backup together run every block of that page.
#[test]
fn every_block_of_the_backup_is_run_by_a_test() {
    let page = Page::open("backup-and-restore.md", &["DATA", "BACKUP", "RESTORED"]);
    let tests = include_str!("handbook.rs");
    for block in page.blocks.keys() {
        assert!(tests.contains(&format!("page.run(\"{block}\")")), "{block}");
    }
}
