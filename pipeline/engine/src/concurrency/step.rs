//! A change of either number, and what it rests on.

use super::axis::Axis;
use super::reading::Reading;
use super::{Knob, Reason};

/// A change of either number.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) knob: Knob,
    /// The number that a trial that stays has left behind; otherwise the present one.
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) reason: Reason,
    pub(super) figures: Vec<(&'static str, f64)>,
}

/// The step back from a trial.
pub(super) fn home(knob: Knob, tried: usize, to: usize, figures: Vec<(&'static str, f64)>) -> Step {
    Step { knob, from: tried, to, reason: Reason::Trial, figures }
}

pub(super) fn figures(axis: &Axis, from: usize, to: usize, reading: &Reading) -> Vec<(&'static str, f64)> {
    vec![
        ("records_per_second", reading.records_per_second),
        ("part_of_most_before", axis.evidence.share(from)),
        ("part_of_most_after", axis.evidence.share(to)),
    ]
}
