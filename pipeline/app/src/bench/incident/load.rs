//! Arriving events: at a rate, with a backlog that arrived earlier at the same rate.

use serde::Serialize;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(in crate::bench) struct Load {
    /// Events per second.
    pub(in crate::bench) rate: f64,
    /// Events that wait at the start.
    pub(in crate::bench) backlog: u64,
}

impl Load {
    /// When an event arrives, in seconds since the start; negative for those of the backlog. The first is number 0.
    pub(in crate::bench) fn at(self, event: u64) -> f64 {
        (event as f64 - self.backlog as f64) / self.rate
    }

    /// Number of events that have arrived by a time.
    pub(in crate::bench) fn arrived(self, seconds: f64) -> u64 {
        self.backlog + (seconds * self.rate) as u64
    }

    /// How long the oldest event that is not committed has waited, in seconds, if they are taken in their order.
    pub(in crate::bench) fn delay(self, seconds: f64, committed: u64) -> f64 {
        if committed >= self.arrived(seconds) { 0.0 } else { (seconds - self.at(committed)).max(0.0) }
    }

    /// In words.
    pub(in crate::bench) fn name(self) -> String {
        if self.backlog == 0 {
            return format!("{}/s", self.rate);
        }
        format!("{}/s, {:.1} h behind", self.rate, self.backlog as f64 / self.rate / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_event_that_waits_is_as_late_as_the_queue() {
        let load = Load { rate: 200.0, backlog: 0 };
        assert_eq!((load.arrived(10.0), load.delay(10.0, 2_000), load.delay(10.0, 3_000)), (2_000, 0.0, 0.0));
        assert_eq!(load.delay(10.0, 1_000), 5.0);
        // Two hours of events, a quarter of them done after a minute.
        let load = Load { rate: 200.0, backlog: 1_440_000 };
        assert_eq!((load.at(0), load.at(1_440_000)), (-7_200.0, 0.0));
        assert_eq!(load.delay(60.0, 360_000), 60.0 + 7_200.0 * 0.75);
        assert_eq!(load.name(), "200/s, 2.0 h behind");
    }
}
