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
    fn limit(&mut self, decisions: &mut Vec<Decision>) {
        let numbers = self.limits();
        let sizes = sizes(&self.settings);
        // No more than the database has meanwhile been seen to bear.
        let borne = (self.ceiling.within(numbers.1), self.batch.most(self.records, &self.cost, &self.settings));
        let most = |most| (!self.settings.freeze).then_some(most);
        let concurrency = self.search.concurrency.limit(self.concurrency, numbers, most(borne.0));
        let records = self.search.records.limit(self.records, sizes, most(borne.1));
        self.change(Knob::Concurrency, concurrency, Reason::Limit, Vec::new(), decisions);
        self.change(Knob::Records, records, Reason::Limit, Vec::new(), decisions);
        self.restart();
    }

    /// The fewest and the most transactions at a time that this process may have.
    pub fn limits(&self) -> (usize, usize) {
        limits(&self.settings, self.processes())
    }
}
