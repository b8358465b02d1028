//! The operator's limits, alone and beside other processes, and what happens when they change.

use std::time::Duration;

use super::Controller;
use crate::concurrency::allowed::{limits, sizes};
use crate::concurrency::{Decision, Knob, Reason, Settings};

impl Controller {
    /// Changes the operator's limits at run time. They hold at once, frozen or not.
    pub fn set(&mut self, now: Duration, settings: Settings) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.pass(now, &mut decisions);
        self.come_home(&mut decisions);
        self.settings = settings;
        self.limit(&mut decisions);
        decisions
    }

    /// `processes` processes write to this database, including this one. Each has a part of the common bound, and what
    /// it takes from the others counts as no gain.
    pub(super) fn shared_by(&mut self, processes: usize, decisions: &mut Vec<Decision>) {
        let processes = processes.max(1);
        if processes == self.search.processes {
            return;
        }
        let divided = self.settings.concurrency_max_together > 0;
        if divided {
            // A trial returns to a number that the old limits allowed.
            self.come_home(decisions);
        }
        self.search.processes = processes;
        if divided {
            self.limit(decisions);
        }
    }

    /// Applies changed limits.
    pub(super) fn limit(&mut self, decisions: &mut Vec<Decision>) {
        let numbers = self.limits();
        // No more than the database has meanwhile been seen to bear.
        let borne = self.ceiling.within(numbers.1);
        let most = (!self.settings.freeze).then_some(borne);
        let concurrency = self.search.concurrency.limit(self.concurrency, numbers, most);
        self.change(Knob::Concurrency, concurrency, Reason::Limit, Vec::new(), decisions);
        let sizing = self.search.sizing;
        for pipeline in 0..self.parts.len() {
            let Some(part) = self.parts.get(pipeline) else { continue };
            let Some(size) = self.search.sizes.get_mut(pipeline) else { continue };
            let most = (!self.settings.freeze).then_some(part.most(&self.settings));
            let records = size.limit(part.records, sizes(&part.within(&self.settings)), most);
            self.search.sizing = pipeline;
            self.change(Knob::Records, records, Reason::Limit, Vec::new(), decisions);
        }
        self.search.sizing = sizing;
        self.restart();
    }

    /// The fewest and the most transactions at a time that this process may have.
    pub fn limits(&self) -> (usize, usize) {
        limits(&self.settings, self.processes())
    }
}
