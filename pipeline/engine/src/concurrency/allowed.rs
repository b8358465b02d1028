//! The ranges within which the operator leaves the choice to the controller.

use super::Settings;
use super::batch::RECORDS_MIN;

/// The smallest and the largest transactions that are tried.
pub(super) fn sizes(settings: &Settings) -> (usize, usize) {
    let max = settings.records_max.max(1);
    (RECORDS_MIN.min(max), max)
}

/// The fewest and the most transactions at a time of one of `processes` processes, consistent for any settings.
pub(super) fn limits(settings: &Settings, processes: usize) -> (usize, usize) {
    let part = match settings.concurrency_max_together {
        0 => usize::MAX,
        together => (together / processes.max(1)).max(1),
    };
    let min = settings.concurrency_min.max(1).min(part);
    (min, settings.concurrency_max.max(min).min(part))
}
