//! The private cluster among real processes: who starts, shares, kills, mends and stops a server, as which account and
//! in what surroundings. Most scenarios want root, because that is where accounts change; without it, and where the
//! sandbox forbids a namespace, a scenario says that it is skipped.
//!
//! `MILLSTREAM_PG_BIN=/path/to/bin` runs all of them against another version of PostgreSQL.

#[path = "private_cluster/program.rs"]
mod program;

#[path = "private_cluster/stage.rs"]
mod stage;

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
