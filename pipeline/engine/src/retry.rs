//! What to do about an error, and how long to wait before trying again.

use std::time::Duration;

use rand::Rng;

/// What the engine does about an error. Named for the action, not for the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Retry the same thing.
    Retry,
    /// It took too long, or a lock was in the way. Retry the same thing; when a batch meets this again, divide it, so
    /// that the part that can be written is written. Never a record's fault.
    Split,
    /// Retry, but raise an alarm: something outside must be repaired (a schema, a password) and no record is at fault.
    Alarm,
    /// Stop this lane and report it: going on could lose or corrupt something.
    Halt,
}

/// What a failure says about the sink's load, for the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// The sink is overloaded: no memory, no connection, a timeout.
    Overload,
    /// Other transactions are in the way: a deadlock, a lock that is not available, a conflict.
    Contention,
}

/// Exponential backoff with jitter, between a floor and a cap.
#[derive(Clone, Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// Waits that begin at `base` and double up to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Backoff { base, cap, attempt: 0 }
    }

    /// The next wait: between half and all of the current step, so that many writers do not come back at once.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.base.saturating_mul(1u32.checked_shl(self.attempt.min(20)).unwrap_or(u32::MAX)).min(self.cap);
        self.attempt = self.attempt.saturating_add(1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// How many waits were asked for since the last success.
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_begin_anew_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        for attempt in 0..100u32 {
            let step = Duration::from_millis(100 << attempt.min(10)).min(Duration::from_secs(10));
            let wait = backoff.next_wait();
            assert!(wait >= step / 2 && wait <= step, "attempt {attempt}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= Duration::from_millis(100));
    }
}
