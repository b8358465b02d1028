//! When more than a small share of the records goes to quarantine, the fault is not one record's: a producer changed,
//! or our decoder did. The share that floods is paused, and the others go on. If there is only one share, the
//! pipeline pauses until another one appears, instead of filling the table. Either way a person decides how to go on.
//!
//! Nothing is lost meanwhile: unread records stay in the stream, those of paused shares are in quarantine. A restart begins
//! with an empty window.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::share::{Share, Standing, Tally};

/// How many bad records are too many, and how many may be kept.
#[derive(Clone, Debug)]
pub struct FloodLimits {
    /// The part of the window that may be bad. 1 never pauses.
    pub share_max: f64,
    /// The number of records in the window. While there were fewer, the missing ones count as good: a few bad records
    /// in a quiet stream are no flood, it takes more than `share_max * records` of them.
    pub records: u64,
    /// Records older than this leave the window: bad records that trickle in over days are no flood either.
    pub time: Duration,
    /// The share that pauses the pipeline when it floods alone in the window; `None`: any share does. A share that its
    /// records name is paused at once, because a stream whose records name shares has others, or will have.
    pub pauses_alone: Option<Share>,
    /// Rows of one share that the quarantine may hold. More: a table too long to look through. Fewer: a share that was
    /// paused overnight is refused in the morning.
    pub share_rows_max: u64,
    /// The bytes that these rows may hold: bounds the disk that one share may fill.
    pub share_bytes_max: u64,
    /// Shares whose records no endpoint can refuse: the pipeline pauses once the quarantine of such a share is full.
    pub irrefusable: Irrefusable,
    /// What happens when a share floods.
    pub on_flood: OnFlood,
}

/// What a pipeline does about a share with too many bad records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFlood {
    /// The share is paused, or the pipeline pauses where there is no other, until a person decides.
    #[default]
    Pause,
    /// It only says so, and goes on: good records are never held up. The sink has to bound the quarantine by itself.
    GoOn,
}

/// Shares whose records reach the stream by another way than our endpoints, which could refuse them.
#[derive(Clone, Debug)]
pub enum Irrefusable {
    /// Any share, because other programs write to the stream.
    All,
    /// Only these.
    Only(BTreeSet<Share>),
}

impl Irrefusable {
    pub(crate) fn contains(&self, share: &Share) -> bool {
        match self {
            Irrefusable::All => true,
            Irrefusable::Only(shares) => shares.contains(share),
        }
    }
}

impl Default for FloodLimits {
    /// One in a hundred of the last 100,000 records: 1,000 bad ones within ten minutes. Fewer: one producer's bad
    /// minute pauses it. More: more rows to look through, each with its bytes.
    fn default() -> Self {
        FloodLimits {
            share_max: 0.01,
            records: 100_000,
            time: Duration::from_secs(600),
            pauses_alone: None,
            share_rows_max: 1_000_000,
            share_bytes_max: 1 << 30,
            irrefusable: Irrefusable::All,
            on_flood: OnFlood::default(),
        }
    }
}

impl FloodLimits {
    /// Whether the quarantine holds as much of a share as it may, and takes no more. One that drops its oldest rows is
    /// never full.
    pub fn is_full(&self, standing: &Standing) -> bool {
        let is_at_bound = standing.rows >= self.share_rows_max || standing.bytes >= self.share_bytes_max;
        is_at_bound && self.on_flood == OnFlood::Pause
    }
}

/// An entry of the window ends after this time or a hundredth of the window's records, whichever comes first.
const STEP: Duration = Duration::from_secs(1);
/// Shares that are counted apart; all others are counted together. Bounds the memory of a window.
const SHARES_MAX: usize = 1_000;

/// The window of one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    entries: VecDeque<Entry>,
    /// Records of all entries.
    records: u64,
    shares: BTreeMap<Share, Count>,
    /// The shares that flooded at the last batch.
    flooding: BTreeSet<Share>,
    /// Floods that a person let pass: each share is watched again after a whole window.
    let_pass: BTreeMap<Share, LetPass>,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    records: u64,
    shares: BTreeMap<Share, Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    records: u64,
    bad: u64,
}

#[derive(Debug)]
struct LetPass {
    at: Instant,
    records: u64,
}

/// A share with too many bad records.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flooding {
    pub(crate) share: Share,
    /// How many of its records were bad, in words.
    pub(crate) says: String,
    /// Whether no other share is in the window.
    pub(crate) is_only: bool,
}

impl Flood {
    /// Counts a batch. Returns the shares that flood.
    pub(crate) fn add(&mut self, limits: &FloodLimits, now: Instant, tallies: &[(Share, Tally)]) -> Vec<Flooding> {
        let records: u64 = tallies.iter().map(|(_, tally)| tally.records).sum();
        let is_step = |last: &Entry| now - last.at < STEP && last.records < limits.records / 100;
        if !self.entries.back().is_some_and(is_step) {
            self.entries.push_back(Entry { at: now, records: 0, shares: BTreeMap::new() });
        }
        if let Some(last) = self.entries.back_mut() {
            last.records += records;
            self.records += records;
            for (share, tally) in tallies.iter().filter(|(_, tally)| tally.records > 0) {
                let is_told_apart = self.shares.contains_key(share) || self.shares.len() < SHARES_MAX;
                let share = if is_told_apart { share.clone() } else { others() };
                for count in [&mut last.shares, &mut self.shares].map(|all| all.entry(share.clone()).or_default()) {
                    count.records += tally.records;
                    count.bad += tally.bad;
                }
            }
        }
        while let Some(first) = self.entries.front()
            && (now - first.at > limits.time || self.records - first.records >= limits.records)
        {
            let Some(first) = self.entries.pop_front() else { break };
            self.forget_entry(&first);
        }
        let window = self.records.max(limits.records);
        let is_flood = |count: &Count| count.bad as f64 > limits.share_max * window as f64;
        let flooding = self.shares.iter().filter(|(_, count)| is_flood(count));
        let flooding: BTreeMap<Share, Count> = flooding.map(|(share, count)| (share.clone(), *count)).collect();
        self.let_pass.retain(|share, passed| {
            passed.records += records;
            let is_over = passed.records >= limits.records || now - passed.at >= limits.time;
            flooding.contains_key(share) || !is_over
        });
        let is_only = self.shares.len() == 1;
        self.flooding = flooding.keys().cloned().collect();
        let watched = flooding.into_iter().filter(|(share, _)| !self.let_pass.contains_key(share));
        let told = watched.map(|(share, count)| Flooding {
            says: format!("{} of its last {} records went to quarantine", count.bad, count.records),
            is_only: is_only || share == others(),
            share,
        });
        told.collect()
    }

    fn forget_entry(&mut self, entry: &Entry) {
        self.records -= entry.records;
        for (share, gone) in &entry.shares {
            let Some(count) = self.shares.get_mut(share) else { continue };
            count.records -= gone.records;
            count.bad -= gone.bad;
            if count.records == 0 {
                self.shares.remove(share);
            }
        }
    }

    /// Forgets a share that was paused: bad records of it after that are another flood.
    pub(crate) fn forget(&mut self, share: &Share) {
        self.shares.remove(share);
        self.flooding.remove(share);
        for entry in &mut self.entries {
            if let Some(gone) = entry.shares.remove(share) {
                entry.records -= gone.records;
                self.records -= gone.records;
            }
        }
    }

    /// Lets the present floods pass, and no flood of another share.
    pub(crate) fn let_pass(&mut self, now: Instant) {
        let passing = self.flooding.iter().map(|share| (share.clone(), LetPass { at: now, records: 0 }));
        self.let_pass.extend(passing);
    }
}

/// Counts all shares beyond [`SHARES_MAX`]; no share has this name.
fn others() -> Share {
    Share::new("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, records: u64, bad: u64) -> (Share, Tally) {
        (Share::new(name), Tally { records, bad, ..Tally::default() })
    }

    /// Adds up to `batches` batches with `bad` of `records` records, one per `every`; returns how many made a flood.
    fn floods_after(flood: &mut Flood, batches: u64, records: u64, bad: u64, every: Duration) -> Option<u64> {
        let begin = flood.entries.back().map_or_else(Instant::now, |last| last.at);
        let limits = FloodLimits::default();
        let is_flood = |n: &u64| !flood.add(&limits, begin + every * *n as u32, &[of("a", records, bad)]).is_empty();
        (1..=batches).find(is_flood)
    }

    #[test]
    fn a_thousand_bad_records_at_once_are_no_flood_and_one_more_is() {
        let mut flood = Flood::default();
        assert_eq!(floods_after(&mut flood, 10, 100, 100, Duration::from_millis(10)), None);
        assert_eq!(floods_after(&mut flood, 1, 1, 1, Duration::from_millis(10)), Some(1));
    }

    #[test]
    fn one_in_a_hundred_may_be_bad_at_any_rate_and_two_may_not() {
        for (records, every) in [(100, 1), (2_000, 20), (2_000, 2_000)] {
            let every = Duration::from_millis(every);
            let share = |bad| floods_after(&mut Flood::default(), 5_000, records, bad, every);
            assert_eq!(share(records / 100), None, "{records} every {every:?}");
            let after = share(records / 50).map(|batches| batches * records / 50);
            assert!(after.is_some_and(|bad| (1_001..1_001 + records / 50).contains(&bad)), "{after:?}");
        }
    }

    #[test]
    fn bad_records_that_trickle_in_over_days_are_no_flood() {
        assert_eq!(floods_after(&mut Flood::default(), 10_000, 1, 1, Duration::from_secs(1)), None);
    }

    #[test]
    fn a_flood_that_may_pass_does_not_pause_again_and_the_next_one_does() {
        let mut flood = Flood::default();
        let often = Duration::from_millis(10);
        assert_eq!(floods_after(&mut flood, 10, 1_000, 1_000, often), Some(2));
        flood.let_pass(flood.entries.back().unwrap().at);
        assert_eq!(floods_after(&mut flood, 300, 1_000, 1_000, often), None, "it is the one that was looked at");
        assert_eq!(floods_after(&mut flood, 300, 1_000, 0, often), None);
        assert_eq!(floods_after(&mut flood, 10, 1_000, 1_000, often), Some(2));
    }

    #[test]
    fn only_the_flood_at_hand_may_pass() {
        let mut flood = Flood::default();
        let limits = FloodLimits::default();
        let now = Instant::now();
        flood.let_pass(now);
        assert_eq!(flood.add(&limits, now, &[of("a", 1_001, 1_001)]).len(), 1, "nothing flooded when it was said");
        flood.let_pass(now);
        let found = flood.add(&limits, now, &[of("a", 500, 500), of("b", 1_001, 1_001)]);
        let found: Vec<&str> = found.iter().map(|flooding| flooding.share.as_str()).collect();
        assert_eq!(found, ["b"], "that of another one was not looked at");
        flood.forget(&Share::new("b"));
        flood.let_pass(now);
        assert_eq!(flood.add(&limits, now, &[of("b", 1_001, 1_001)]).len(), 1, "it was paused, and is another flood");
    }

    #[test]
    fn the_share_that_floods_is_named_and_no_other() {
        let mut flood = Flood::default();
        let limits = FloodLimits::default();
        let now = Instant::now();
        assert_eq!(
            flood.add(&limits, now, &[of("a", 600, 600), of("b", 600, 600)]),
            [],
            "1,200 bad ones of two shares"
        );
        let found = flood.add(&limits, now, &[of("a", 500, 500), of("b", 300, 300), of("c", 9_000, 0)]);
        let says = "1100 of its last 1100 records went to quarantine".to_owned();
        assert_eq!(found, [Flooding { share: Share::new("a"), says, is_only: false }]);
        flood.forget(&Share::new("a"));
        assert_eq!(flood.add(&limits, now, &[of("a", 900, 900), of("b", 1, 0)]), [], "it is counted anew");
        assert_eq!(flood.add(&limits, now, &[of("a", 101, 101)]).len(), 1, "and floods again");
        assert_eq!(flood.records, 600 + 300 + 9_000 + 900 + 1 + 101);
    }

    #[test]
    fn a_share_alone_in_the_window_is_the_only_one() {
        let mut flood = Flood::default();
        let limits = FloodLimits::default();
        let now = Instant::now();
        assert!(flood.add(&limits, now, &[of("a", 1_001, 1_001), of("b", 0, 0)])[0].is_only);
        assert!(!flood.add(&limits, now, &[of("b", 1, 0)])[0].is_only);
        let later = now + limits.time + Duration::from_secs(1);
        assert!(flood.add(&limits, later, &[of("a", 1_001, 1_001)])[0].is_only, "the other one is long ago");
    }

    #[test]
    fn the_window_takes_little_memory_at_any_rate_and_number_of_shares() {
        let mut flood = Flood::default();
        floods_after(&mut flood, 100_000, 1, 0, Duration::from_millis(1));
        assert!(flood.entries.len() <= 200, "{}", flood.entries.len());
        let now = flood.entries.back().unwrap().at;
        let many: Vec<_> = (0..10_000).map(|n| of(&n.to_string(), 1, 1)).collect();
        let found = flood.add(&FloodLimits::default(), now, &many);
        assert!(flood.shares.len() <= SHARES_MAX + 1, "{}", flood.shares.len());
        assert!(found.len() == 1 && found[0].is_only, "those beyond the bound are one, which has no name: {found:?}");
    }
}
