//! The embedded stream: topics of partitions in own segment files, for one process on one machine.
//!
//! What it promises:
//!
//! - **Acknowledged = on disk.** [`Topic::append`] returns only after a sync that covers every record.
//! - **Torn or flipped data is detected, never served.** Every frame carries checksums. When the log is opened, the
//!   torn rest of an unacknowledged group is cut off. Damage in acknowledged data is an error that names file and byte;
//!   it is never cut, and only [`Topic::set_aside`] lets readers skip it. Other readers are not affected.
//! - **A failed write or sync stops the partition** and is not retried; reading goes on.
//! - **Bounded.** Appends wait for room; reading a backlog of any size takes the memory of one read.
//!
//! It depends on no other package of the project, and starts one thread per partition that is written to.

mod options;
pub use options::{Options, Retention};

mod log;
pub use log::Log;

mod topic;
pub use topic::Topic;

mod inner;

mod lock_file;

mod shared;

mod record;
pub use record::{NewRecord, Record};

mod post;
pub use post::Appended;

mod queue;

mod partition;

mod writer;

mod frame;

mod mark;

mod marks;

mod pairs;

mod openings;

mod recover;

mod search;

mod damage;
pub use damage::Damage;

mod examine;

mod lost;

mod holes;

mod index;

mod walk;

mod read;
pub use read::{Range, Read};

mod seek;

mod retention;
pub use retention::Removed;

mod meta;

mod error;
pub use error::{AppendError, Cause, Corrupt, Error, Failed, Fault, ReadError};

pub mod system;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SEGMENT_SUFFIX: &str = ".segment";

/// Segments are named by the offset of their first record, so that names sort like offsets.
fn segment_path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{base:020}{SEGMENT_SUFFIX}"))
}

/// Ignores poisoning: the panic is reported where it happened, and guarded data is valid between statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
