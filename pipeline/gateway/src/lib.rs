//! The gateway: keeps the table of routes in memory, and sends each request to a task of the revision that it drew.
//!
//! Who [`follow`]s the route log gives the facts to an [`Applier`], which publishes one
//! [`ServiceView`] for each service in a [`Table`]. A request reads the table without a lock, pins a revision of an
//! alias, and chooses a task for each attempt.

mod dial;
pub use dial::{Cidr, CidrError, Dialable};

mod choose;
pub use choose::{Attempt, Counters, Failure, Pinned, Refused};

mod table;
pub use table::{AliasView, Applied, Applier, Change, Former, Held, HeldAlias, Lack, Member, Options, RevisionView};
pub use table::{ServiceView, Table, TaskKey, TaskState, Tasks, Trial};

mod edge;

pub mod forward;

pub mod server;

pub mod follow;

pub mod probe;

pub mod check;

pub mod report;
