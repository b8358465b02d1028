//! The application: command line, wiring of names to connectors, HTTP, demo and benchmarks.
//!
//! Read [`node`] first: it starts the parts in the order in which an event meets them.

pub mod cli;

pub mod config;

pub mod migrate;

pub mod tables;

mod grants;

mod elsewhere;
mod postgres;

mod data_dir;

mod domain;
pub mod node;
pub mod running;

pub mod quarantine;

pub mod serving;

mod pace;

pub mod stream;

mod tokens;

pub mod http;

pub mod bench;
pub mod demo;

mod time;

pub use cli::main;

/// One thread frees what another allocated, all the time; the C library's allocator retains more memory then than this
/// one, and takes longer for the many short-lived pieces of a forwarded request. librdkafka uses it, too.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
