//! When more than a small share of the events goes to quarantine, something is wrong that is not one record's: a producer
//! that changed, or a decoder of ours. The pipeline pauses instead of filling the table, until a person says to go on.
//!
//! Nothing is lost meanwhile: what is in the stream stays there. A restart begins with an empty window.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many bad events are too many.
#[derive(Clone, Debug)]
pub struct FloodLimits {
    /// The share of the window that may be bad. 1 never pauses.
    pub share_max: f64,
    /// The last so many events are the window. While there were fewer, the missing ones count as good: a few bad events
    /// in a quiet stream are no flood, it takes `share_max * events` of them.
    pub events: u64,
    /// Events older than this are no longer in the window: what trickles in over days is no flood either.
    pub time: Duration,
}

impl Default for FloodLimits {
    /// One in a hundred of the last 100,000 events: 1,000 bad ones within ten minutes. Fewer: one producer's bad minute
    /// stops everybody. More: more rows to look through, each with its bytes.
    fn default() -> Self {
        FloodLimits { share_max: 0.01, events: 100_000, time: Duration::from_secs(600) }
    }
}

/// Entries of the window: one for each second or hundredth of its events, whichever is longer.
const STEP: Duration = Duration::from_secs(1);

/// The window of one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    entries: VecDeque<Entry>,
    events: u64,
    bad: u64,
    /// Since a person said to go on: the flood at hand may pass, and the watch begins again after a whole window.
    let_pass: Option<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Instant,
    events: u64,
    bad: u64,
}

impl Flood {
    /// Counts a batch. Says how things stand if it is time to pause.
    pub(crate) fn add(&mut self, limits: &FloodLimits, now: Instant, events: u64, bad: u64) -> Option<String> {
        match self.entries.back_mut() {
            Some(last) if now - last.at < STEP && last.events < limits.events / 100 => {
                last.events += events;
                last.bad += bad;
            }
            _ => self.entries.push_back(Entry { at: now, events, bad }),
        }
        self.events += events;
        self.bad += bad;
        while let Some(first) = self.entries.front().copied()
            && (now - first.at > limits.time || self.events - first.events >= limits.events)
        {
            self.entries.pop_front();
            self.events -= first.events;
            self.bad -= first.bad;
        }
        let window = self.events.max(limits.events);
        let is_flood = self.bad as f64 > limits.share_max * window as f64;
        if let Some(passed) = &mut self.let_pass {
            passed.events += events;
            let is_over = passed.events >= limits.events || now - passed.at >= limits.time;
            if is_flood || !is_over {
                return None;
            }
            self.let_pass = None;
        }
        is_flood.then(|| format!("{} of the last {} events went to quarantine", self.bad, self.events))
    }

    /// Lets the flood at hand pass.
    pub(crate) fn let_pass(&mut self, now: Instant) {
        self.let_pass = Some(Entry { at: now, events: 0, bad: 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Batches of `events` with `bad` ones, `every` so often; after how many of them it is time to pause.
    fn pauses_after(flood: &mut Flood, batches: u64, events: u64, bad: u64, every: Duration) -> Option<u64> {
        let begin = flood.entries.back().map_or_else(Instant::now, |last| last.at);
        (1..=batches).find(|n| flood.add(&FloodLimits::default(), begin + every * *n as u32, events, bad).is_some())
    }

    #[test]
    fn a_thousand_bad_events_at_once_are_no_flood_and_one_more_is() {
        let mut flood = Flood::default();
        assert_eq!(pauses_after(&mut flood, 10, 100, 100, Duration::from_millis(10)), None);
        assert_eq!(pauses_after(&mut flood, 1, 1, 1, Duration::from_millis(10)), Some(1));
    }

    #[test]
    fn one_in_a_hundred_may_be_bad_at_any_rate_and_two_may_not() {
        for (events, every) in [(100, 1), (2_000, 20), (2_000, 2_000)] {
            let every = Duration::from_millis(every);
            let share = |bad| pauses_after(&mut Flood::default(), 5_000, events, bad, every);
            assert_eq!(share(events / 100), None, "{events} every {every:?}");
            let after = share(events / 50).map(|batches| batches * events / 50);
            assert!(after.is_some_and(|bad| (1_001..1_001 + events / 50).contains(&bad)), "{after:?}");
        }
    }

    #[test]
    fn bad_events_that_trickle_in_over_days_are_no_flood() {
        assert_eq!(pauses_after(&mut Flood::default(), 10_000, 1, 1, Duration::from_secs(1)), None);
    }

    #[test]
    fn a_flood_that_may_pass_does_not_pause_again_and_the_next_one_does() {
        let mut flood = Flood::default();
        let often = Duration::from_millis(10);
        assert_eq!(pauses_after(&mut flood, 10, 1_000, 1_000, often), Some(2));
        flood.let_pass(flood.entries.back().unwrap().at);
        assert_eq!(pauses_after(&mut flood, 300, 1_000, 1_000, often), None, "it is the one that was looked at");
        assert_eq!(pauses_after(&mut flood, 300, 1_000, 0, often), None);
        assert_eq!(pauses_after(&mut flood, 10, 1_000, 1_000, often), Some(2));
    }

    #[test]
    fn the_window_takes_little_memory_at_any_rate() {
        let mut flood = Flood::default();
        pauses_after(&mut flood, 100_000, 1, 0, Duration::from_millis(1));
        assert!(flood.entries.len() <= 200, "{}", flood.entries.len());
    }
}
