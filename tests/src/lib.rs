//! What the behaviour tests stand on: a database, a millstream, events whose meaning is known, and a model of it all.
//!
//! The model is the judge. It folds what the generator *meant* and shares no code with the decoder, the fold or the
//! SQL of the product; tests compare every table with it in one snapshot.
#![expect(clippy::expect_used, reason = "a harness that cannot go on fails its test at once")]
#![expect(clippy::print_stdout, reason = "seeds and figures belong to a test's output")]

pub mod database;
pub use database::{Database, database};

pub mod process;
pub use process::{Millstream, Setup};

pub mod client;
pub use client::Response;

pub mod objects;
pub use objects::{Description, Dialect, Event, Generator, Kind, Model, Order, compare, tables};
pub use objects::{dialect, event, generator, model};

pub mod archive;

pub mod stream;
pub use stream::{Run, Stream, Writer};

pub mod sqs_faults;
pub use sqs_faults::SqsFaults;

pub mod sqs;
pub use sqs::{TestBucket, TestQueue};

pub mod proxy;
pub use proxy::{Cut, Proxy};

pub mod kafka_proxy;
pub use kafka_proxy::KafkaProxy;

pub mod bouncer;
pub use bouncer::Bouncer;

pub mod parts;

pub mod tmux;
pub use tmux::Tmux;

pub mod tls;
pub use tls::Authority;

pub mod kinesis;
pub use kinesis::Shards;

pub mod kinesis_faults;
pub use kinesis_faults::{Fate, Faults};

pub mod wait;
pub use wait::until;

/// A variable of the environment: the program under test does not end with its parent.
pub const OUTLIVES_PARENT: &str = "OUTLIVES_PARENT";

/// Whether the long versions of tests are asked for, with `MILLSTREAM_SOAK=1`.
pub fn soak() -> bool {
    std::env::var_os("MILLSTREAM_SOAK").is_some_and(|value| value == "1")
}

/// A port of 127.0.0.1 that was free a moment ago.
///
/// # Errors
/// Of the operating system.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Whether a program of this machine is there. Where it is not, a test says so and leaves, unless
/// `MILLSTREAM_REQUIRE_SERVICES=1` asks for all of them.
///
/// # Panics
/// If it is asked for and not there.
pub fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where only root looks for them.
    let mut places = std::env::split_paths(&path).chain([std::path::PathBuf::from("/usr/sbin")]);
    let there = places.any(|place| place.join(name).is_file());
    let required = std::env::var_os("MILLSTREAM_REQUIRE_SERVICES").is_some_and(|value| value == "1");
    assert!(there || !required, "{name} is not installed, and MILLSTREAM_REQUIRE_SERVICES=1");
    if !there {
        println!("skipped: {name} is not installed");
    }
    there
}

/// A directory that the account of PostgreSQL can enter, removed with its handle.
pub fn scratch() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let open = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("millstream-test-").permissions(open).tempdir().expect("make a scratch directory")
}
