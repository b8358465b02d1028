//! The application: command line, wiring of names to connectors, HTTP, demo and benchmarks.
//!
//! Read [`node`] first: it starts the parts in the order in which an event meets them.

pub mod cli;

pub mod config;

pub mod migrate;

mod grants;

mod elsewhere;

pub mod node;

pub mod stream;

pub mod http;

pub mod bench;
pub mod demo;

mod time;

pub use cli::main;
