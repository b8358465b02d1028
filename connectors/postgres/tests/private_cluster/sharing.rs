//! Several programs, one cluster.

use crate::stage::{Home, eventually, is_alive};

#[test]
fn a_cluster_is_made_and_found_again() {
    let home = Home::fresh();
    // The whole way, with what it takes to be durable.
    let mut program = home.program().durable().start();
    assert_ne!(program.opened(), 0);
    assert_eq!(program.ask("SHOW fsync"), "on");
    assert_eq!(program.ask("SHOW synchronous_commit"), "on");
    assert_eq!(program.ask("SHOW listen_addresses"), "");
    assert_eq!(program.ask("SHOW jit"), "off");
    assert_eq!(program.ask("SHOW data_checksums"), "on");
    assert_eq!(program.ask("SELECT upper('é')"), "É");
    assert_eq!(program.ask("CREATE TABLE kept AS SELECT 'still here' AS word"), "");
    assert!(program.tell("psql").starts_with(&format!("psql -h {}/run -p 5432", home.path().display())));
    assert!(program.close());
    assert!(home.is_unused());

    let mut program = home.start();
    program.opened();
    assert_eq!(program.ask("SELECT word FROM kept"), "still here");
    assert!(program.close());
    assert!(!home.log().contains("recover"), "a clean stop needs no recovery: {}", home.log());
}

#[test]
fn the_last_of_two_stops_the_server() {
    let home = Home::made();
    let mut first = home.start();
    let server = first.opened();
    let mut second = home.start();
    assert_eq!(second.opened(), server);
    assert!(!first.close());
    assert_eq!(second.ask("SELECT 'on'"), "on");
    assert!(second.close());
    assert!(home.is_unused());
}

#[test]
fn five_race_for_a_fresh_home() {
    let home = Home::fresh();
    let mut programs: Vec<_> = (0..5).map(|_| home.start()).collect();
    let servers: Vec<i32> = programs.iter().map(crate::stage::Program::opened).collect();
    assert!(servers.iter().all(|server| *server == servers[0] && *server != 0), "{servers:?}");
    let stopped = programs.iter_mut().filter_map(|program| program.close().then_some(())).count();
    assert_eq!(stopped, 1);
    assert!(home.is_unused());
}

#[test]
fn a_program_that_opens_while_the_server_stops_gets_a_new_one() {
    let home = Home::made();
    let mut first = home.start();
    let before = first.opened();
    first.order("close");
    let mut second = home.start();
    let after = second.opened();
    assert_eq!(second.ask("SELECT 'on'"), "on");
    // Either it came too late for the old one, or in time to keep it.
    let stopped = first.line() == "closed true";
    assert_eq!(stopped, before != after);
    assert!(second.close());
}

#[test]
fn a_program_that_fails_or_panics_leaves_no_server() {
    let home = Home::made();
    for end in ["fail", "panic"] {
        let mut program = home.start();
        program.opened();
        program.order(end);
        program.wait();
        eventually("the server to end", || home.is_unused());
    }
}

#[test]
fn a_program_that_fails_leaves_the_server_to_the_others() {
    let home = Home::made();
    let mut first = home.start();
    let server = first.opened();
    let mut second = home.start();
    second.opened();
    first.order("fail");
    first.wait();
    assert!(is_alive(home.server().unwrap()));
    assert_eq!(second.ensure(), server);
    assert!(second.close());
}

#[test]
fn ctrl_c_in_a_terminal_reaches_the_program_before_the_server() {
    let home = Home::made();
    let program = home.start();
    program.opened();
    program.interrupt_group();
    assert_eq!(program.line(), "answer drained");
    assert_eq!(program.line(), "closed true");
    assert!(home.is_unused());
}
