//! A simulator of databases that are written to, to tune and to check controllers of concurrency.
//!
//! A virtual clock, a queue of events, and random numbers from a seed: minutes pass in milliseconds, and the same seed
//! gives the same run. A [`Plant`] is a database with its load; a [`Policy`] decides, from the same events as
//! [`Controller`](crate::concurrency::Controller), which is one. The [`Oracle`] is the best fixed setting, found by
//! trying a grid; [`report`](report::report) compares policies with it. The simulator itself is checked against
//! queueing theory, and every run against Little's law.
//!
//! To add a plant, describe it in `plants.rs`; to add a competitor, implement [`Policy`] in `competitors/`.

mod agenda;
mod arrivals;
mod database;
mod instance;
mod measure;
mod plant;
mod random;
mod world;

mod plants;
mod policy;

pub mod competitors;

mod oracle;

pub mod report;

pub use instance::RECORD_BYTES;
pub use measure::Run;
pub use oracle::Oracle;
pub use plant::{Arrivals, Change, Commit, Cost, Gin, Locks, Plant, Sharing};
pub use plants::{LANES, plant, plants};
pub use policy::{Fixed, LINGER, Ours, Policy};
pub use world::simulate;

#[cfg(test)]
mod tests;
