//! kill -9 of everyone at every time.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::stage::{Home, eventually, is_alive};

#[test]
fn the_server_of_a_killed_program_is_adopted() {
    let home = Home::made();
    let mut first = home.start();
    let server = first.opened();
    first.kill();
    assert!(is_alive(home.server().unwrap()));
    let mut second = home.start();
    assert_eq!(second.opened(), server);
    assert!(second.close());
    assert!(home.is_unused());
}

#[test]
fn a_cluster_whose_program_and_server_were_killed_starts_again() {
    let home = Home::made();
    let mut first = home.program().durable().start();
    first.opened();
    assert_eq!(first.ask("CREATE TABLE kept AS SELECT 'acknowledged' AS word"), "");
    first.kill();
    home.kill_server();
    let mut second = home.start();
    second.opened();
    assert_eq!(second.ask("SELECT word FROM kept"), "acknowledged");
    assert!(second.close());
}

#[test]
fn a_killed_server_is_mended_under_one_program() {
    let home = Home::made();
    let mut program = home.start();
    let before = program.opened();
    home.kill_server();
    let after = program.ensure();
    assert_ne!(before, after);
    assert_eq!(program.ask("SELECT 'on'"), "on");
    assert!(program.close());
}

#[test]
fn a_killed_server_leaves_no_zombie() {
    let home = Home::made();
    let mut program = home.start();
    program.opened();
    for _ in 0..3 {
        home.kill_server();
        program.ensure();
        assert_eq!(program.zombies(), 0);
    }
    // Also where another program starts the next one.
    let mut other = home.start();
    other.opened();
    home.kill_server();
    other.ensure();
    program.ensure();
    assert_eq!((program.zombies(), other.zombies()), (0, 0));
    assert!(!program.close());
    assert!(other.close());
}

#[test]
fn a_killed_server_is_mended_once_under_two_programs() {
    let home = Home::made();
    let mut first = home.start();
    let mut second = home.start();
    let before = first.opened();
    assert_eq!(second.opened(), before);
    home.kill_server();
    first.order("ensure");
    second.order("ensure");
    let said = first.line();
    assert_eq!(said, second.line());
    assert_ne!(said, format!("ensured {before}"));
    assert!(!first.close());
    assert!(second.close());
}

/// A session that computes does not see that its server was killed. It may still write, so a second server beside it
/// would destroy the cluster: opening has to wait for its end.
fn computing(seconds: u64) {
    let home = Home::made();
    let mut first = home.start();
    first.opened();
    // It says that it has begun by a lock that others can see.
    first.order(&format!(
        "ask DO $$ BEGIN PERFORM pg_advisory_lock(7); \
         WHILE clock_timestamp() < now() + interval '{seconds} s' LOOP END LOOP; END $$"
    ));
    let mut watcher = home.start();
    watcher.opened();
    let mut session = String::new();
    eventually("the session to compute", || {
        session = watcher.ask("SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND granted");
        !session.is_empty()
    });
    let session = Pid::from_raw(session.parse().unwrap()).unwrap();
    watcher.kill();
    first.kill();
    home.kill_server();
    assert!(is_alive(session), "else there is nothing to wait for");
    let mut second = home.start();
    second.opened();
    assert!(!is_alive(session));
    assert_eq!(second.ask("SELECT 'on'"), "on");
    assert!(second.close());
}

#[test]
fn a_short_session_of_a_killed_server_is_waited_for() {
    computing(1);
}

#[test]
fn a_long_session_of_a_killed_server_is_waited_for() {
    computing(8);
}

#[test]
fn a_kill_in_the_middle_of_initdb_leaves_nothing_in_the_way() {
    let home = Home::fresh();
    let mut first = home.start();
    eventually("initdb to have begun", || {
        let mut entries = fs::read_dir(home.path()).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().join("PG_VERSION").exists())
    });
    first.kill();
    assert!(!home.path().join("data").exists());
    let mut second = home.start();
    second.opened();
    assert_eq!(second.ask("SELECT 'on'"), "on");
    assert!(second.close());
    // initdb, which outlived its program, may have gone on for a while in the directory that was taken from it.
    let left = fs::read_dir(home.path()).unwrap().flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().join("PG_VERSION").exists()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_pid_file_that_names_a_live_stranger_is_no_server() {
    let home = Home::made();
    // A process of the account that PostgreSQL runs as, with the number that a killed server had.
    let owner = fs::metadata(home.path().join("data")).unwrap();
    let uid = std::os::unix::fs::MetadataExt::uid(&owner);
    let mut command = Command::new("sleep");
    std::os::unix::process::CommandExt::uid(&mut command, uid);
    let mut stranger = command.arg("100").spawn().unwrap();
    let line = format!("{}\n{}/data\n1700000000\n5432\n\n\n", stranger.id(), home.path().display());
    fs::write(home.path().join("data/postmaster.pid"), &line).unwrap();
    fs::create_dir_all(home.path().join("run")).unwrap();
    fs::write(home.path().join("run/.s.PGSQL.5432.lock"), &line).unwrap();
    let mut program = home.start();
    assert_ne!(program.opened(), i32::try_from(stranger.id()).unwrap());
    assert!(program.close());
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger was signalled");
    kill_process(Pid::from_child(&stranger), Signal::KILL).unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_log_that_was_deleted_under_the_server_changes_nothing() {
    let home = Home::made();
    let mut first = home.start();
    let server = first.opened();
    fs::remove_file(home.path().join("log")).unwrap();
    let mut second = home.start();
    assert_eq!(second.opened(), server);
    first.kill();
    home.kill_server();
    let began = Instant::now();
    assert_ne!(second.ensure(), server);
    assert!(began.elapsed() < Duration::from_secs(50));
    assert!(home.path().join("log").exists());
    assert!(second.close());
}
