//! The private cluster among real processes: who starts, shares, kills, mends and stops a server, as which account and
//! in what surroundings. Most scenarios want root, because that is where accounts change; without it, and where the
//! sandbox forbids a namespace, a scenario says that it is skipped.
//!
//! `MILLSTREAM_PG_BIN=/path/to/bin` runs all of them against another version of PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]
#![allow(clippy::print_stdout, reason = "the program that the tests start speaks through its standard output")]

#[path = "private_cluster/program.rs"]
mod program;

#[path = "private_cluster/stage.rs"]
mod stage;

// Named to come first in the alphabet, and so among the tests: it waits for a minute while the others work.
#[path = "private_cluster/aaa_another_container.rs"]
mod aaa_another_container;

#[path = "private_cluster/sharing.rs"]
mod sharing;

#[path = "private_cluster/killed.rs"]
mod killed;

#[path = "private_cluster/accounts.rs"]
mod accounts;

#[path = "private_cluster/surroundings.rs"]
mod surroundings;

#[path = "private_cluster/tcp.rs"]
mod tcp;
