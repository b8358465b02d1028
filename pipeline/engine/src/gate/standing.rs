//! What keeps the process from writing more, in one word.

use std::collections::VecDeque;
use std::time::Duration;

use crate::concurrency::Limited;

/// A brake is shown for this long after it acted.
pub(super) const BRAKE_SHOWN: Duration = Duration::from_secs(10);
/// The time that a standing looks back over: long enough for several transactions.
const WINDOW: Duration = Duration::from_secs(5);

/// What limits the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// There is nothing more to write: batches are begun as soon as they are due.
    ApplicationLimited,
    /// Batches are ready and wait for a turn: the controller decides how many the database bears.
    DatabaseLimited,
    /// There is a backlog and turns are free: there are no more lanes, or no more partitions for them.
    PartitionLimited,
    /// A higher concurrency would write more, and the operator does not allow it.
    ConcurrencyLimited,
    /// The operator's cap on records per second is reached.
    Capped,
    /// The database asked for less within the last seconds.
    Braked,
    /// The operator holds batch size and concurrency where they are.
    Frozen,
}

/// What the controller said within the last seconds.
#[derive(Debug, Default)]
pub(super) struct Recent {
    said: VecDeque<(Duration, Limited)>,
    capped: Option<Duration>,
}

impl Recent {
    pub(super) fn said(&mut self, now: Duration, limited: Limited) {
        self.said.push_back((now, limited));
        while self.said.front().is_some_and(|(at, _)| now.saturating_sub(*at) > WINDOW) {
            self.said.pop_front();
        }
    }

    pub(super) fn capped(&mut self, now: Duration) {
        self.capped = Some(now);
    }

    /// The limit that the controller named most often; a freeze, a brake and a cap come first.
    pub(super) fn standing(&self, frozen: bool, braked: bool, now: Duration) -> Standing {
        if frozen {
            return Standing::Frozen;
        }
        if braked {
            return Standing::Braked;
        }
        if self.capped.is_some_and(|at| now.saturating_sub(at) < WINDOW) {
            return Standing::Capped;
        }
        let often = |one: Limited| self.said.iter().filter(|(_, said)| *said == one).count();
        let most = [Limited::Application, Limited::Partitions, Limited::Database, Limited::Limit];
        match most.into_iter().max_by_key(|one| often(*one)) {
            _ if self.said.is_empty() => Standing::ApplicationLimited,
            Some(Limited::Partitions) => Standing::PartitionLimited,
            Some(Limited::Database) => Standing::DatabaseLimited,
            Some(Limited::Limit) => Standing::ConcurrencyLimited,
            Some(Limited::Application) | None => Standing::ApplicationLimited,
        }
    }
}
