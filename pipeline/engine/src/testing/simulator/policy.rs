//! Policies: they decide how many transactions there are at a time, and how large each is.

use std::time::Duration;

use crate::concurrency::{Controller, Event, Knob, Pace, Settings, Signals};

/// The linger of a policy that sets none: what the pipeline does without a controller.
pub const LINGER: Duration = Duration::from_millis(100);

/// Decides from the same events as [`Controller`], which is one of them.
pub trait Policy {
    /// Tells it what happened.
    fn on_event(&mut self, now: Duration, event: &Event);

    /// The numbers in force.
    fn pace(&self) -> Pace;

    /// How often it has changed the batch size; 0 if it never does.
    fn batch_changes(&self) -> u64 {
        0
    }
}

impl Policy for Controller {
    fn on_event(&mut self, now: Duration, event: &Event) {
        // Its decisions show in its pace.
        drop(Self::on_event(self, now, event));
    }

    fn pace(&self) -> Pace {
        Self::pace(self, 0)
    }
}

/// Our controller, with its decisions counted.
#[derive(Debug)]
pub struct Ours {
    controller: Controller,
    batch_changes: u64,
}

impl Ours {
    /// Begins as in the product, as one of `processes` processes.
    #[must_use]
    pub fn new(settings: Settings, processes: usize) -> Self {
        let mut controller = Controller::new(settings, Duration::ZERO);
        controller
            .on_event(Duration::ZERO, &Event::Signals(Signals { processes: Some(processes), ..Signals::default() }));
        Self { controller, batch_changes: 0 }
    }
}

impl Policy for Ours {
    fn on_event(&mut self, now: Duration, event: &Event) {
        let decisions = self.controller.on_event(now, event);
        self.batch_changes += decisions.iter().filter(|decision| decision.knob == Knob::Records).count() as u64;
    }

    fn pace(&self) -> Pace {
        self.controller.pace(0)
    }

    // Single transactions are smaller or larger on purpose: only decisions count.
    fn batch_changes(&self) -> u64 {
        self.batch_changes
    }
}

/// A pace that never changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fixed(pub Pace);

impl Fixed {
    /// `concurrency` transactions at a time, of `records` records each.
    #[must_use]
    pub fn new(concurrency: usize, records: usize) -> Self {
        Self(Pace { concurrency, records, linger: LINGER, rests: false })
    }
}

impl Policy for Fixed {
    fn on_event(&mut self, _now: Duration, _event: &Event) {}

    fn pace(&self) -> Pace {
        self.0
    }
}
