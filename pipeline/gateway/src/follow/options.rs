//! How a follower follows.

use std::path::PathBuf;
use std::time::Duration;

/// How a follower follows.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often the log is read without a notice. Longer: a lost notice delays a change by more; shorter: an idle
    /// gateway asks more often.
    pub tick: Duration,
    /// Whether to listen for notices: not behind a pooler, nor on a standby.
    pub listen: bool,
    /// The most time of one reading of the log, or of a snapshot: a connection that a network has swallowed is given up after it.
    pub answer_max: Duration,
    /// Where the facts are kept for a start without the database; `None` keeps none.
    pub file: Option<PathBuf>,
    /// Facts that are older are not used from the file: their addresses may belong to others by then.
    pub stale_max: Duration,
    /// How often changed facts are written to the file. Shorter: a start finds newer facts, at the cost of writing all.
    pub save_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            tick: Duration::from_millis(250),
            listen: true,
            answer_max: Duration::from_secs(90),
            file: None,
            stale_max: Duration::from_secs(24 * 60 * 60),
            save_every: Duration::from_secs(10),
        }
    }
}
