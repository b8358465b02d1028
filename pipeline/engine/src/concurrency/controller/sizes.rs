//! How large the transactions of each pipeline are: pipelines that join, and what their cost says.

use super::Controller;
use crate::concurrency::allowed::sizes;
use crate::concurrency::batch::Batch;
use crate::concurrency::part::Part;
use crate::concurrency::{Allowance, Decision, Knob, Reason};

/// The most pipelines, each with a quarter of a MiB of curves. More than that share the place of the last one.
const PIPELINES_MAX: usize = 256;

/// The assumed error of the cost model, as a part of what it predicts for a larger transaction.
const MODEL_ERROR: f64 = 0.3;

impl Controller {
    /// The pipeline of this number. A number that was never given out counts as the last one.
    pub(super) fn index(&self, pipeline: usize) -> usize {
        pipeline.min(self.parts.len().saturating_sub(1))
    }

    /// A pipeline joins with this allowance: `anew` if nothing of what was learnt under its number is its own.
    pub(super) fn joined(&mut self, pipeline: usize, anew: bool, allowance: Allowance, decisions: &mut Vec<Decision>) {
        let Some(part) = self.parts.get_mut(pipeline).filter(|_| !anew) else {
            if pipeline >= PIPELINES_MAX && self.parts.len() >= PIPELINES_MAX {
                return;
            }
            if self.search.sizing == pipeline {
                self.come_home(decisions);
            }
            self.add(pipeline, allowance);
            return;
        };
        let before = part.within(&self.settings);
        part.allowance = allowance;
        let after = part.within(&self.settings);
        if (before.records_max, before.bytes_max) != (after.records_max, after.bytes_max) {
            self.come_home(decisions);
            self.limit(decisions);
        }
    }

    /// Adds a pipeline that nothing is known of, as the next one or in the place of another.
    pub(super) fn add(&mut self, pipeline: usize, allowance: Allowance) {
        let own = allowance.within(&self.settings);
        let size = self.search.size_within(pipeline, sizes(&own), self.now.as_secs_f64());
        let part = Part::new(allowance, size.evidence.rung_below(Batch::start(&own)));
        match self.parts.get_mut(pipeline) {
            Some(before) => *before = part,
            None => self.parts.push(part),
        }
    }

    /// Looks at the size of the next pipeline that leaves records behind, once something was measured for this one.
    pub(super) fn look_at_next(&mut self) {
        if !self.search.is_settled() || !std::mem::take(&mut self.search.looked) {
            return;
        }
        let count = self.parts.len();
        let others = (1..count).map(|step| (self.search.sizing + step) % count);
        let full = |index: &usize| self.parts.get(*index).is_some_and(|part| part.batch.mostly_full());
        if let Some(next) = others.into_iter().find(full) {
            self.search.sizing = next;
        }
    }

    /// Applies the cost to the size: at once when transactions take too long, otherwise as one more piece of evidence.
    pub(super) fn fit_size(&mut self, pipeline: usize, decisions: &mut Vec<Decision>) {
        let Some(part) = self.parts.get_mut(pipeline) else { return };
        part.cost.fit();
        let from = (part.records / 4).max(1);
        let to = part.records;
        let ratio = |transaction: f64| ((1.0 + transaction / from as f64) / (1.0 + transaction / to as f64)).ln();
        let known = part.cost.transaction_records();
        if known > 0.0
            && let Some(size) = self.search.sizes.get_mut(pipeline)
        {
            let wrong = ratio(known + part.cost.error_records()) - ratio(known);
            let error = wrong.max(MODEL_ERROR * ratio(known));
            size.evidence.foretell(from, to, ratio(known), error * error + 0.0002);
        }
        let most = part.most(&self.settings);
        if self.settings.freeze || part.records <= most {
            return;
        }
        self.come_home(decisions);
        self.search.sizing = pipeline;
        let taken = self.parts.get(pipeline).map_or(0.0, |part| part.cost.recent_seconds());
        let figures = vec![("transaction_milliseconds", taken * 1000.0)];
        let to = self.search.evidence(Knob::Records).rung_below(most);
        self.change(Knob::Records, to, Reason::Cost, figures, decisions);
        self.restart();
    }
}
