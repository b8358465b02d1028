//! The last decisions, for the operator.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::concurrency::{Decision, Reason};

/// Decisions that are kept: hours of them while things change, days while they do not. About 200 bytes each.
pub(crate) const KEPT: usize = 1_000;

/// How often each knob was changed for each reason.
pub type Tally = BTreeMap<(String, String), u64>;

/// A decision, and when it was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counted from 1 since the start of the process.
    pub number: u64,
    /// In milliseconds since 1970.
    pub at_ms: i64,
    /// The name of the pipeline whose size of transactions it is, if it is of one.
    pub pipeline: Option<Arc<str>>,
    /// What was decided.
    pub decision: Decision,
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    made: u64,
    tally: Tally,
    braked: Option<Duration>,
}

impl Journal {
    pub(super) fn add(&mut self, at_ms: i64, now: Duration, pipeline: Option<Arc<str>>, decision: Decision) {
        self.made += 1;
        *self.tally.entry((name(&decision.knob), name(&decision.reason))).or_default() += 1;
        if matches!(decision.reason, Reason::Overload | Reason::Contention | Reason::Slow | Reason::Stall) {
            self.braked = Some(now);
        }
        self.entries.push_back(Entry { number: self.made, at_ms, pipeline, decision });
        if self.entries.len() > KEPT {
            self.entries.pop_front();
        }
    }

    /// The last `limit` decisions, the latest first.
    pub(super) fn latest(&self, limit: usize) -> Vec<Entry> {
        self.entries.iter().rev().take(limit).cloned().collect()
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Whether a brake acted within the last `within`.
    pub(super) fn braked_since(&self, now: Duration, within: Duration) -> bool {
        self.braked.is_some_and(|at| now.saturating_sub(at) < within)
    }
}

/// The name of a knob or a reason as it is written everywhere, `more_is_faster` of `MoreIsFaster`.
pub(super) fn name(variant: &impl std::fmt::Debug) -> String {
    let mut name = String::new();
    for letter in format!("{variant:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

/// The figures behind a decision in one line, `goodput_per_s=1200 gain=1.31`.
pub(super) fn figures(decision: &Decision) -> String {
    let mut line = String::new();
    for (name, value) in &decision.figures {
        let gap = if line.is_empty() { "" } else { " " };
        // Writing to a String cannot fail.
        write!(line, "{gap}{name}={}", rounded(*value)).ok();
    }
    line
}

/// Rounds to four significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    if scale.is_finite() && scale > 0.0 { (value * scale).round() / scale } else { value }
}

#[cfg(test)]
mod tests {
    use crate::concurrency::Knob;

    use super::*;

    #[test]
    fn the_last_ones_are_kept_and_all_are_counted() {
        let mut journal = Journal::default();
        for to in 1..=KEPT + 5 {
            let knob = Knob::Records;
            let reason = Reason::MoreIsFaster;
            let decision = Decision { at: Duration::ZERO, knob, pipeline: None, from: 0, to, reason, figures: vec![] };
            journal.add(7, Duration::ZERO, None, decision);
        }
        let latest: Vec<usize> = journal.latest(2).iter().map(|entry| entry.decision.to).collect();
        assert_eq!((latest, journal.latest(usize::MAX).len()), (vec![KEPT + 5, KEPT + 4], KEPT));
        let counted = BTreeMap::from([(("records".to_owned(), "more_is_faster".to_owned()), KEPT as u64 + 5)]);
        assert_eq!(*journal.tally(), counted);
    }

    #[test]
    fn figures_have_four_digits() {
        for (value, shown) in [(0.0, 0.0), (1234.567, 1235.0), (0.012_345_6, 0.012_35), (-2.0, -2.0), (1e9, 1e9)] {
            assert_eq!(rounded(value), shown);
        }
    }
}
