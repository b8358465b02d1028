//! Tasks: what runs where, which revision of which service it belongs to, and whether it may be sent requests.
//!
//! Events of any dialect become [`Fact`]s, which are folded by order: any permutation, duplication and
//! split of the same events gives the same facts. What follows from the facts is one pure function of them.

mod fact;
pub use fact::{Alias, Deploy, Fact, Health, HealthCheck, Instance, Key, Kind, Order, Port, Rank, Selector};
pub use fact::{Slice, Target, Task};

mod source;
pub use source::{Source, SourceError, SourceKind, Sources, is_name};

mod decode;
pub use decode::{EPOCH_HEADER, decode};

mod event;
pub use event::{Decoded, TaskEvent};

mod filter;
pub use filter::FilterReason;

mod ecs;
mod kubernetes;
mod millstream;

mod context;
mod document;
pub(crate) mod entity;
pub(crate) mod list;

mod merge;
pub use merge::{Merged, is_below_floor};

mod facts;
pub use facts::{Cursor, Extent, Facts, REVISION_LABELS, SERVICE_LABELS, Spot, TaskOf, Touched};

mod resolve;
pub use resolve::{MayDial, Pending, Placed, Revision, Service, Standing};
