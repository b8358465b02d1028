//! Tasks: what runs where, which revision of which service it belongs to, and whether it may be sent requests.
//!
//! Events of any dialect become [`Fact`]s, which are folded by order: any permutation, duplication and
//! split of the same events gives the same facts. What follows from the facts is one pure function of them.

mod fact;
pub use fact::{Alias, Deploy, Fact, Health, HealthCheck, Instance, Key, Kind, Order, Port, Rank, Selector};
pub use fact::{Slice, Target, Task};
