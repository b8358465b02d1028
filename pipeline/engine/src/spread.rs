//! How many lanes have partitions.
//!
//! A lane writes its own transactions for its partitions, so with little to do more lanes only mean more transactions
//! for the same records. A pipeline rests with few lanes, and uses all it may have while there is a backlog, so that
//! the controller can find out how many transactions at a time are best. A change costs a statement for each lane that
//! changes, and the new owner of a lease reads again what the old one had in hand.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// Lanes of a pipeline at rest. Fewer: a slow transaction holds up every partition. More: more transactions for the
/// same records.
const RESTING: usize = 2;
/// A backlog begins after this many looks at which only full batches were taken.
const FULL_LOOKS: u32 = 2;
/// Time between looks.
pub(crate) const LOOK: Duration = Duration::from_millis(500);
/// A backlog ends after this long without a full batch. Each return of it within [`FORGIVEN`] doubles that time.
const CALM: Duration = Duration::from_secs(30);
const CALM_MAX: Duration = Duration::from_secs(480);
const FORGIVEN: Duration = Duration::from_secs(900);

/// The lanes of one pipeline.
#[derive(Debug)]
pub(crate) struct Spread {
    lanes: usize,
    resting: usize,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    full: u32,
    partly: u32,
    looks: u32,
    /// When the last full batch was taken; `None` unless all lanes are in use.
    wide: Option<Instant>,
    calm: Duration,
    narrowed: Option<Instant>,
}

impl Spread {
    pub(crate) fn new(lanes: usize, lanes_min: usize) -> Self {
        let seen = Seen { full: 0, partly: 0, looks: 0, wide: None, calm: CALM, narrowed: None };
        Spread { lanes, resting: RESTING.max(lanes_min).min(lanes), seen: Mutex::new(seen) }
    }

    /// A batch was taken: full, or all that there was.
    pub(crate) fn taken(&self, full: bool) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if full {
            seen.full += 1;
        } else {
            seen.partly += 1;
        }
    }

    /// How many lanes have partitions from now on.
    pub(crate) fn look(&self, now: Instant) -> usize {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let full = std::mem::take(&mut seen.full);
        let partly = std::mem::take(&mut seen.partly);
        match seen.wide {
            Some(_) if full > 0 => seen.wide = Some(now),
            Some(at) if now.saturating_duration_since(at) >= seen.calm => {
                seen.wide = None;
                seen.narrowed = Some(now);
                seen.looks = 0;
            }
            Some(_) => {}
            None => {
                if partly > 0 {
                    seen.looks = 0;
                } else if full > 0 {
                    seen.looks += 1;
                }
                if seen.looks >= FULL_LOOKS {
                    seen.wide = Some(now);
                    let again = seen.narrowed.is_some_and(|at| now.saturating_duration_since(at) < FORGIVEN);
                    seen.calm = if again { (seen.calm * 2).min(CALM_MAX) } else { CALM };
                }
            }
        }
        if seen.wide.is_some() { self.lanes } else { self.resting }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks for `time`, each batch being full or not; returns the number of lanes after it.
    fn after(spread: &Spread, now: &mut Instant, time: Duration, full: Option<bool>) -> usize {
        let end = *now + time;
        loop {
            full.into_iter().for_each(|full| spread.taken(full));
            *now += LOOK;
            let lanes = spread.look(*now);
            if *now >= end {
                return lanes;
            }
        }
    }

    #[tokio::test]
    async fn all_lanes_work_at_a_backlog_and_few_otherwise() {
        let spread = Spread::new(8, 1);
        let mut now = Instant::now();
        assert_eq!(after(&spread, &mut now, LOOK, Some(true)), 2, "one full batch is no backlog");
        assert_eq!(after(&spread, &mut now, CALM * 2, Some(false)), 2);
        assert_eq!(after(&spread, &mut now, LOOK * FULL_LOOKS, Some(true)), 8);
        assert_eq!(after(&spread, &mut now, CALM / 2, Some(false)), 8, "the end of a backlog comes and goes");
        assert_eq!(after(&spread, &mut now, CALM, None), 2);
    }

    #[tokio::test]
    async fn what_comes_again_and_again_changes_lanes_ever_more_rarely() {
        let spread = Spread::new(4, 1);
        let mut now = Instant::now();
        let mut changes = 0;
        for _ in 0..100 {
            changes += u32::from(after(&spread, &mut now, LOOK * 4, Some(true)) == 4);
            while after(&spread, &mut now, LOOK, Some(false)) == 4 {}
        }
        assert_eq!(changes, 100);
        let began = now;
        after(&spread, &mut now, LOOK * 4, Some(true));
        while after(&spread, &mut now, LOOK, Some(false)) == 4 {}
        assert!(now - began >= CALM_MAX, "{:?}", now - began);
    }

    #[test]
    fn there_are_never_more_than_there_are() {
        assert_eq!((Spread::new(1, 1).resting, Spread::new(8, 6).resting), (1, 6));
    }
}
