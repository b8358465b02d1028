//! What the operator allows, alone and beside other processes, and what happens when that changes.

use std::time::Duration;

use super::Controller;
use crate::concurrency::allowed::{limits, sizes};
use crate::concurrency::{Decision, Knob, Reason, Settings};

impl Controller {
    /// The operator's limits change at run time. They hold at once, freeze or not.
    pub fn set(&mut self, now: Duration, settings: Settings) -> Vec<Decision> {
        let mut decisions = Vec::new();
        self.pass(now, &mut decisions);
        self.come_home(&mut decisions);
        self.settings = settings;
        self.limit(&mut decisions);
        decisions
    }

    /// So many processes write to this database, this one with them. Each has a part of what they may together, and takes
    /// what it gets from the others for no gain.
    pub(super) fn shared_by(&mut self, processes: usize, decisions: &mut Vec<Decision>) {
        let processes = processes.max(1);
        if processes == self.search.processes {
            return;
        }
        let divided = self.settings.concurrency_max_together > 0;
        if divided {
            // Home is where the limits before allowed it to be.
            self.come_home(decisions);
        }
        self.search.processes = processes;
        if divided {
            self.limit(decisions);
        }
    }

    /// What is allowed is another than before.
    fn limit(&mut self, decisions: &mut Vec<Decision>) {
        let numbers = self.limits();
        let sizes = sizes(&self.settings);
        // No more than the database was seen to bear meanwhile.
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
