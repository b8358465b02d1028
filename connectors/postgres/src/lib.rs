//! Everything about PostgreSQL except statements: a server, how to reach it, and what its errors mean.
//!
//! [`Cluster`] is the private server of a machine that has none; [`Postgres`] is the `[postgres]` section of the
//! configuration, also for servers elsewhere, which a [`Connector`] connects to; [`verdict`] says for every error what
//! has to happen next.
//!
//! This crate never drops a table, never deletes `data`, and never stops a server that another process still uses.

pub mod settings;

mod connector;

mod connection;

pub mod pooler;

pub mod scram;

pub mod cluster;

#[cfg(feature = "fetch")]
pub mod fetch;

pub mod sqlstate;

mod places;

mod error;

pub use cluster::{Cluster, ClusterOptions};
pub use connection::Connection;
pub use connector::{ConnectError, Connector, POOLER_MEND};
pub use error::Error;
pub use settings::Postgres;
pub use sqlstate::{Verdict, verdict};
