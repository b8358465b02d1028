//! Futures dropped or held at every moment there is.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// Moments in a row before which a future must have ended, until none later is tried: how often one is polled depends
/// on how fast answers come, so that it ended once says little.
const ENDED_IN_A_ROW: u32 = 10;

/// All moments, one after another, for as long as they are met.
#[derive(Debug, Default)]
pub(super) struct Moments {
    tried: usize,
    ended_in_a_row: u32,
}

impl Moments {
    /// The next moment, unless futures have kept ending before.
    pub(super) fn next(&mut self) -> Option<Moment> {
        let moment = Moment { polls: 1 + self.tried / 2, answered: self.tried % 2 == 1 };
        self.tried += 1;
        (self.ended_in_a_row < ENDED_IN_A_ROW).then_some(moment)
    }

    /// Says whether the future had ended before the moment.
    pub(super) fn ended(&mut self, before: bool) {
        self.ended_in_a_row = if before { self.ended_in_a_row + 1 } else { 0 };
    }
}

/// Where in its course a future is stopped: once it has been polled so often and is not done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    polls: usize,
    /// Stopped when the answer it waits for is there, instead of as soon as it has asked.
    answered: bool,
}

impl Moment {
    /// As soon as it has asked for the so manieth time.
    pub(super) fn polled(polls: usize) -> Self {
        Moment { polls, answered: false }
    }

    /// Runs a future up to this moment; gives what it came to if it ended before.
    pub(super) async fn reach<F: Future>(self, mut future: Pin<&mut F>) -> Option<F::Output> {
        let mut left = self.polls;
        std::future::poll_fn(|context| {
            if left == 0 {
                return Poll::Ready(None);
            }
            left -= 1;
            match future.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Some(output)),
                Poll::Pending if left == 0 && !self.answered => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
